"""One file for each group of `kiln` commands, imported only when one of them is called."""
