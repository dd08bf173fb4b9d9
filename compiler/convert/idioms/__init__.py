"""Building blocks that several families of operators share. Imports no operators."""
