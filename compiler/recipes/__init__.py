"""Modules that users name in a manifest: replacements and wrappers."""
