"""Names of values (`x`, `x_1`, `x_2`) and of operators."""

from __future__ import annotations


def unused(base: str, taken: set[str]) -> str:
    """`base`, numbered if it is taken; the name returned is added to `taken`."""
    name, count = base, 1
    while name in taken:
        name, count = f"{base}_{count}", count + 1
    taken.add(name)
    return name


def packet(op: str) -> str:
    """An operator without its overload: `aten.gelu.default` -> `aten.gelu`."""
    return op.rsplit(".", 1)[0] if op.count(".") > 1 else op
