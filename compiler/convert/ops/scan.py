"""Running sums, products and extremes along a dimension."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from compiler.convert.idioms.numeric import (
    as_float,
    constant,
    greater_equal,
    is_float,
    is_nan,
    less_equal,
    log_add_exp,
    widened,
)
from compiler.convert.idioms.reductions import extreme, log_sum_exp
from compiler.convert.net import Net, Scalar
from compiler.convert.registry import FLOATS, NUMBERS, Support, Table
from compiler.network.network import Size, Tensor

TABLE = Table("scan")


def _accumulated(net: Net, x: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None:
        dtype = x.dtype if is_float(x) else torch.int64
    return net.cast(x, dtype)


@TABLE.converter("aten.cumsum.default")
def cumsum(net: Net, self: Tensor, dim: int, dtype: torch.dtype | None) -> Tensor:
    x = _accumulated(net, self, dtype)
    return net.cumulative(x, dim % x.ndim) if x.ndim else x


# -- others: log2(n) steps if n is static, otherwise a plane of what precedes each element -----


def _shifted(net: Net, x: Tensor, axis: int, by: int, fill: Scalar) -> Tensor:
    """x shifted towards higher indices, with `fill` before it."""
    start: list[Size] = [0] * x.ndim
    start[axis] = -by
    return net.slice(x, start, net.sizes(x), [1] * x.ndim, mode="FILL", fill=constant(net, fill, x))


def _scan(
    net: Net, parts: Sequence[Tensor], axis: int, fills: Sequence[Scalar],
    combine: Callable[..., Sequence[Tensor]],
) -> Sequence[Tensor]:  # fmt: skip
    """An inclusive scan over a static n in log2(n) steps; each combines results twice as far apart.

    `combine(*earlier, *later)` is associative, and `fills` is its neutral element.
    """
    size = parts[0].shape[axis]
    assert size is not None
    step = 1
    while step < size:
        earlier = [_shifted(net, x, axis, step, f) for x, f in zip(parts, fills, strict=True)]
        parts = combine(*earlier, *parts)
        step *= 2
    return parts


def _plane(net: Net, x: Tensor, axis: int, fill: Scalar) -> tuple[Tensor, Tensor]:
    """[..., n, n, ...]: for each place the elements up to it, then `fill`; and a mask of the former."""
    size = net.size(x, axis)
    places = net.arange(size)
    later = net.compare(net.unsqueeze(places, [0]), net.unsqueeze(places, [1]), "GREATER")
    before = net.unsqueeze(net.unary(later, "NOT"), range(2, x.ndim + 1 - axis))
    return net.select(before, net.unsqueeze(x, [axis]), constant(net, fill, x)), before


@TABLE.converter("aten.cumprod.default")
def cumprod(net: Net, self: Tensor, dim: int, dtype: torch.dtype | None) -> Tensor:
    total = _accumulated(net, self, dtype)
    if not total.ndim:
        return total

    def formula(x: Tensor) -> Tensor:
        if x.shape[dim] is None:
            axis = dim % x.ndim
            return net.reduce(_plane(net, x, axis, 1)[0], "PROD", [axis + 1], False)
        return _scan(net, [x], dim % x.ndim, [1], lambda a, b: [net.mul(a, b)])[0]

    return widened(net, formula, total)


@TABLE.converter("aten.logcumsumexp.default", support=Support(dtypes=FLOATS))
def logcumsumexp(net: Net, self: Tensor, dim: int) -> Tensor:
    if not self.ndim:
        return self

    def formula(x: Tensor) -> Tensor:
        axis = dim % x.ndim
        if x.shape[axis] is None:
            plane, _ = _plane(net, x, axis, -math.inf)
            made: Tensor = log_sum_exp(net, plane, [axis + 1], False)
            return made
        return _scan(net, [x], axis, [-math.inf], lambda a, b: [log_add_exp(net, a, b)])[0]

    return widened(net, formula, as_float(net, self))


def _running(
    later_wins: Callable[[Net, Tensor, Tensor], Tensor], worst: float
) -> Callable[..., tuple[Tensor, Tensor]]:
    """cummax or cummin with indices: the last of equal elements, and NaN from its place onwards."""

    def convert(net: Net, self: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        if not self.ndim:
            return self, net.scalar(0, torch.int64)
        axis = dim % self.ndim
        size = self.shape[axis]
        limits = None if is_float(self) else torch.iinfo(self.dtype)
        fill: Scalar = worst
        if limits is not None:
            fill = limits.min if worst < 0 else limits.max
        if size is None:
            return _extremes(net, self, axis, fill, "MAX" if worst < 0 else "MIN")
        places = net.constant(
            torch.arange(size).reshape([-1 if i == axis else 1 for i in range(self.ndim)])
        )
        indices = net.expand(places, net.sizes(self))

        def combine(a: Tensor, i: Tensor, b: Tensor, j: Tensor) -> Sequence[Tensor]:
            later = later_wins(net, b, a)
            if is_float(a):
                alone = net.elementwise(later, net.unary(is_nan(net, a), "NOT"), "AND")
                later = net.elementwise(alone, is_nan(net, b), "OR")
            return net.select(later, b, a), net.select(later, j, i)

        values, places = _scan(net, [self, indices], axis, [fill, 0], combine)
        return values, places

    return convert


def _extremes(net: Net, x: Tensor, axis: int, fill: Scalar, op: str) -> tuple[Tensor, Tensor]:
    """`_running` for a dynamic size."""
    plane, before = _plane(net, x, axis, fill)
    values = extreme(net, plane, op, axis + 1, False)
    best = net.unsqueeze(values, [axis + 1])
    hit = net.equal(plane, best)
    if is_float(x):
        hit = net.select(is_nan(net, best), is_nan(net, plane), hit)
    places = net.unsqueeze(net.arange(net.size(x, axis)), range(1, x.ndim - axis))
    found = net.select(net.elementwise(hit, before, "AND"), places, net.scalar(-1, torch.int64))
    return values, net.reduce(found, "MAX", [axis + 1], False)


_CUM = Support(dtypes=NUMBERS)


TABLE.row("aten.cummax.default", _running(greater_equal, -math.inf), _CUM)


TABLE.row("aten.cummin.default", _running(less_equal, math.inf), _CUM)
