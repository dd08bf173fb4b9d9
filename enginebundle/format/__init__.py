"""The words and documents that docs/format.md describes: read, checked, written. No I/O but of bytes."""
