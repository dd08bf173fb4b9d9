"""What the user puts in place of modules, operators and functions."""
