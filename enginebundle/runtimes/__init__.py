"""Bytes to callables: one runtime for each kind of segment."""
