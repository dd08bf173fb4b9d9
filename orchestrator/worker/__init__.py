"""One step in a process of its own, and what came of it as a value."""
