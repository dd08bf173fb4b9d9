"""What a run reports: its progress, its record in the store, and its results."""
