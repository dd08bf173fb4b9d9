"""Several values reduced into one place, where TensorRT's scatter layer would keep only one of them.

Every value is compared with every place (a one-hot plane), masked and reduced. This is exact, even
with infinities and for positions in any order, but needs values x places intermediate elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from compiler.convert.idioms.numeric import floor_quotient, maximum, minimum
from compiler.convert.idioms.positions import plain
from compiler.convert.idioms.reductions import extreme
from compiler.convert.net import Net
from compiler.network.network import Size, Tensor
from compiler.network.recorder import FLOATS

LIMIT = 1 << 28
"""Most elements of the intermediate plane; more would not fit on a GPU beside a model."""


REDUCTIONS = {
    "sum": "SUM", "add": "SUM", "mean": "SUM", "prod": "PROD", "multiply": "PROD", "amax": "MAX",
    "amin": "MIN",
}  # fmt: skip
"""The reduction of the values, by torch's name; it also combines them with what a place held."""


def too_large(shape: Sequence[int | str], places: int | str) -> str | None:
    """Why values of this shape cannot be reduced into this many places; None if some size is unknown."""
    sizes = [n for n in (*shape, places) if isinstance(n, int)]
    count = math.prod(sizes)
    if len(sizes) <= len(shape) or count <= LIMIT:
        return None
    return f"expected at most {LIMIT} values x places, got {count}"


def neutral(dtype: torch.dtype, reduction: str) -> float:
    """The value that a reduction ignores."""
    if reduction in ("SUM", "PROD"):
        return 0 if reduction == "SUM" else 1
    low = -math.inf if dtype in FLOATS else torch.iinfo(dtype).min
    high = math.inf if dtype in FLOATS else torch.iinfo(dtype).max
    return low if reduction == "MAX" else high


def one_hot(net: Net, positions: Tensor, count: Size) -> Tensor:
    """bool [*positions, count]: True where the index in the last dim equals the position."""
    numbers = net.cast(net.arange(plain(count)), positions.dtype)
    return net.equal(net.unsqueeze(positions, [positions.ndim]), numbers)


def reduced_hits(
    net: Net, hits: Tensor, values: Tensor, axis: int, op: str, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The values at hits reduced along axis, and how many there were (int32, as the sum of hits)."""
    fill = net.scalar(neutral(dtype, op), dtype)
    chosen = net.select(hits, values, fill)
    found = (
        extreme(net, chosen, op, axis, False)
        if op in ("MAX", "MIN")
        else net.reduce(chosen, op, [axis], False)
    )
    return found, net.reduce(net.cast(hits, torch.int32), "SUM", [axis], False)


def combined(
    net: Net, x: Tensor, found: Tensor, count: Tensor, reduce: str, include_self: bool
) -> Tensor:
    """x combined with the reduced values of each place; places without values keep x."""
    result = found
    if include_self:
        join = {"MAX": maximum, "MIN": minimum, "SUM": Net.add, "PROD": Net.mul}
        result = join[REDUCTIONS[reduce]](net, x, found)
    if reduce == "mean":
        number = net.add(count, 1) if include_self else net.binary(count, 1, "MAX")
        result = _divided(net, result, net.cast(number, x.dtype))
    if include_self and reduce not in ("amax", "amin"):
        return result
    return net.select(net.compare(count, 0, "GREATER"), result, x)


def _divided(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """a / b for positive b; integer quotients are rounded down."""
    if a.dtype in FLOATS:
        return net.div(a, b)
    return floor_quotient(net, *net.promote(a, b))
