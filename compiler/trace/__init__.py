"""From a user's module to an exported program that holds over the whole range of its sizes."""
