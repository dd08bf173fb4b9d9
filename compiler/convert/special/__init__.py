"""Special functions. Only the library of converters imports them."""
