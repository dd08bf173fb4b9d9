"""The converters, a family of operators a file."""
