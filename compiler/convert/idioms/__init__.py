"""What several operators are written with."""
