"""Many values reduced into one place: TensorRT's scatter layer keeps only one of them.

Every value is compared with every place (a one-hot plane), masked and reduced: exact, also with
infinities, in any order of the positions, at the price of values x places elements in between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from compiler.convert.idioms.axes import plain
from compiler.convert.idioms.numeric import maximum, minimum
from compiler.convert.net import Net
from compiler.convert.ops.reduce import extreme
from compiler.network.network import Size, Tensor
from compiler.network.recorder import FLOATS

LIMIT = 1 << 28
"""Elements of the plane between; more would not fit a GPU beside a model."""

REDUCTIONS = {
    "sum": "SUM", "add": "SUM", "mean": "SUM", "prod": "PROD", "multiply": "PROD", "amax": "MAX",
    "amin": "MIN",
}  # fmt: skip
"""torch's name to the reduction of the values, which also joins them with a place."""


def too_large(shape: Sequence[int | str], places: int | str) -> str | None:
    """Why values of this shape cannot be reduced into so many places, if all sizes are known."""
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
    """bool [*positions, count]: where the last dim's number is the position."""
    numbers = net.cast(net.arange(plain(count)), positions.dtype)
    return net.equal(net.unsqueeze(positions, [positions.ndim]), numbers)


def reduced(
    net: Net, hits: Tensor, values: Tensor, axis: int, op: str, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Values where hits, reduced along axis, and how many there were (of hits' rank, int32)."""
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
    """x with the reduced values of each place; places without any keep x."""
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
    """a / b with b positive; integers are rounded down."""
    if a.dtype in FLOATS:
        return net.div(a, b)
    up = net.binary(a, 0, "MAX")
    down = net.add(net.binary(net.sub(0, a), 0, "MAX"), net.sub(b, 1))
    return net.sub(net.binary(up, b, "FLOOR_DIV"), net.binary(down, b, "FLOOR_DIV"))
