"""From a manifest and what is installed to tasks with keys."""
