"""The values and documents that docs/format.md specifies: read, check and write them as bytes."""
