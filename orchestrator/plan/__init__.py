"""Makes tasks with keys from a manifest and from what is installed."""
