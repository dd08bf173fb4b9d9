"""Special functions. Nothing but the library of converters imports from here."""
