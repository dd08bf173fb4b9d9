"""Names that nothing else has: `x`, `x_1`, `x_2`."""

from __future__ import annotations


def unused(base: str, taken: set[str]) -> str:
    """`base`, numbered if it is taken; the name is taken from now on."""
    name, count = base, 1
    while name in taken:
        name, count = f"{base}_{count}", count + 1
    taken.add(name)
    return name
