"""Small linear algebra, unrolled. Nothing but the library of converters imports from here."""
