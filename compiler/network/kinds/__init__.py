"""The kinds of layers, by family."""
