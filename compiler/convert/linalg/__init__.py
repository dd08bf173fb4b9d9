"""Linear algebra of small matrices, unrolled. Only the library of converters imports it."""
