"""The larger or smaller of two numbers, elementwise, and clamping between two bounds."""

from __future__ import annotations

from collections.abc import Callable

from compiler.convert.idioms.numeric import is_float, is_nan, maximum, minimum
from compiler.convert.net import Net, Operand
from compiler.convert.registry import Table
from compiler.network.network import Tensor

TABLE = Table("extremes")


@TABLE.converter("aten.maximum.default", "aten.max.other")
def maximum_(net: Net, self: Tensor, other: Tensor) -> Tensor:
    return maximum(net, *net.promote(self, other))


@TABLE.converter("aten.minimum.default", "aten.min.other")
def minimum_(net: Net, self: Tensor, other: Tensor) -> Tensor:
    return minimum(net, *net.promote(self, other))


def _other_than_nan(
    order: str, whole: Callable[[Net, Tensor, Tensor], Tensor]
) -> Callable[[Net, Tensor, Tensor], Tensor]:
    """fmax or fmin: where only one operand is NaN, the other one."""

    def convert(net: Net, self: Tensor, other: Tensor) -> Tensor:
        a, b = net.promote(self, other)
        if not is_float(a):
            return whole(net, a, b)
        first = net.elementwise(net.elementwise(a, b, order), is_nan(net, b), "OR")
        return net.select(first, a, b)

    return convert


TABLE.row("aten.fmax.default", _other_than_nan("GREATER", maximum))


TABLE.row("aten.fmin.default", _other_than_nan("LESS", minimum))


def _clamp(net: Net, self: Tensor, low: Operand | None, high: Operand | None) -> Tensor:
    given = [bound for bound in (low, high) if bound is not None]
    dtype = net.result_type(self, *given)
    x = net.cast(self, dtype)
    if low is not None:
        x = maximum(net, x, net.tensor(low, dtype))
    if high is not None:
        x = minimum(net, x, net.tensor(high, dtype))
    return x


@TABLE.converter("aten.clamp.default", "aten.clamp.Tensor", "aten.clip.default", "aten.clip.Tensor")
def clamp(net: Net, self: Tensor, min: Operand | None, max: Operand | None) -> Tensor:
    return _clamp(net, self, min, max)


@TABLE.converter("aten.clamp_min.default", "aten.clamp_min.Tensor")
def clamp_min(net: Net, self: Tensor, min: Operand) -> Tensor:
    return _clamp(net, self, min, None)


@TABLE.converter("aten.clamp_max.default", "aten.clamp_max.Tensor")
def clamp_max(net: Net, self: Tensor, max: Operand) -> Tensor:
    return _clamp(net, self, None, max)
