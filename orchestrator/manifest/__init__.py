"""Reads a YAML file into a frozen Manifest, or reports every mistake in it with its line."""
