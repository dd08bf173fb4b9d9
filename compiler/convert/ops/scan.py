"""Running sums, products and extremes along a dimension."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from compiler.convert.net import Net, Scalar
from compiler.convert.network import Size, Tensor
from compiler.convert.numeric import (
    as_float,
    constant,
    greater_equal,
    is_float,
    is_nan,
    less_equal,
    log_add_exp,
    widened,
)
from compiler.convert.registry import FLOATS, NUMBERS, Support, Table
from enginebundle.graph import Value

TABLE = Table("scan")


def _accumulated(net: Net, x: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None:
        dtype = x.dtype if is_float(x) else torch.int64
    return net.cast(x, dtype)


@TABLE.converter("aten.cumsum.default")
def cumsum(net: Net, self: Tensor, dim: int, dtype: torch.dtype | None) -> Tensor:
    x = _accumulated(net, self, dtype)
    return net.cumulative(x, dim % x.ndim) if x.ndim else x


def _check_static(self: Value, dim: int) -> str | None:
    if not self.shape or isinstance(self.shape[dim], int):
        return None
    return (
        f"TensorRT has a running sum only; the others take log2(n) steps: expected a constant "
        f"size, got {self.shape[dim]}"
    )


def _shifted(net: Net, x: Tensor, axis: int, by: int, fill: Scalar) -> Tensor:
    """x moved towards higher indices, `fill` before it."""
    start: list[Size] = [0] * x.ndim
    start[axis] = -by
    return net.slice(x, start, net.sizes(x), [1] * x.ndim, mode="FILL", fill=constant(net, fill, x))


def _scan(
    net: Net, parts: Sequence[Tensor], axis: int, fills: Sequence[Scalar],
    combine: Callable[..., Sequence[Tensor]],
) -> Sequence[Tensor]:  # fmt: skip
    """Inclusive scan in log2(n) steps: each joins the results of neighbours twice as far away.

    `combine(*earlier, *later)` is associative and `fills` its neutral element.
    """
    size = parts[0].shape[axis]
    assert size is not None
    step = 1
    while step < size:
        earlier = [_shifted(net, x, axis, step, f) for x, f in zip(parts, fills, strict=True)]
        parts = combine(*earlier, *parts)
        step *= 2
    return parts


@TABLE.converter("aten.cumprod.default", check=_check_static)
def cumprod(net: Net, self: Tensor, dim: int, dtype: torch.dtype | None) -> Tensor:
    total = _accumulated(net, self, dtype)
    if not total.ndim:
        return total

    def formula(x: Tensor) -> Tensor:
        return _scan(net, [x], dim % x.ndim, [1], lambda a, b: [net.mul(a, b)])[0]

    return widened(net, formula, total)


@TABLE.converter("aten.logcumsumexp.default", support=Support(dtypes=FLOATS), check=_check_static)
def logcumsumexp(net: Net, self: Tensor, dim: int) -> Tensor:
    if not self.ndim:
        return self

    def formula(x: Tensor) -> Tensor:
        axis = dim % x.ndim
        return _scan(net, [x], axis, [-math.inf], lambda a, b: [log_add_exp(net, a, b)])[0]

    return widened(net, formula, as_float(net, self))


def _running(
    later_wins: Callable[[Net, Tensor, Tensor], Tensor], worst: float
) -> Callable[..., tuple[Tensor, Tensor]]:
    """cummax or cummin with indices: of equals the last one, and a NaN from its place on."""

    def convert(net: Net, self: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        if not self.ndim:
            return self, net.scalar(0, torch.int64)
        axis = dim % self.ndim
        size = self.shape[axis]
        assert size is not None
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

        limits = None if is_float(self) else torch.iinfo(self.dtype)
        fill: Scalar = worst
        if limits is not None:
            fill = limits.min if worst < 0 else limits.max
        values, places = _scan(net, [self, indices], axis, [fill, 0], combine)
        return values, places

    return convert


_CUM = Support(dtypes=NUMBERS)
TABLE.row("aten.cummax.default", _running(greater_equal, -math.inf), _CUM, _check_static)
TABLE.row("aten.cummin.default", _running(less_equal, math.inf), _CUM, _check_static)
