"""Functions of one or two numbers that take several layers, elementwise."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from compiler.convert.idioms.numeric import (
    constant,
    floor_quotient,
    greater,
    is_float,
    less,
    log1p,
    log_add_exp,
    maximum,
    minimum,
    sign_bit,
    widened,
)
from compiler.convert.net import Net, Operand
from compiler.convert.registry import FLOATS, INTEGERS, Support, Table
from compiler.network.network import Tensor

TABLE = Table("functions")


Formula = Callable[[Net, Tensor, Tensor], Tensor]


def _atan2(net: Net, y: Tensor, x: Tensor) -> Tensor:
    """The angle in the first octant, then unfolded by the signs and the order of |x| and |y|."""
    ax, ay = net.unary(x, "ABS"), net.unary(y, "ABS")
    steep = greater(net, ay, ax)
    high, low = net.select(steep, ay, ax), net.select(steep, ax, ay)
    ratio = net.div(low, high)
    # As in torch, 0/0 counts as 0, and inf/inf as 1.
    ratio = net.select(net.equal(high, 0.0), low, ratio)
    corner = net.elementwise(net.equal(low, math.inf), net.equal(high, math.inf), "AND")
    ratio = net.select(corner, constant(net, 1, low), ratio)
    angle = net.unary(ratio, "ATAN")
    angle = net.select(steep, net.sub(math.pi / 2, angle), angle)
    angle = net.select(sign_bit(net, x), net.sub(math.pi, angle), angle)
    return net.select(sign_bit(net, y), net.unary(angle, "NEG"), angle)


def _hypot(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """Scaled by the larger operand, so that no square overflows; infinite if either is."""
    a, b = net.unary(a, "ABS"), net.unary(b, "ABS")
    high, low = maximum(net, a, b), minimum(net, a, b)
    ratio = net.div(low, high)
    length = net.mul(high, net.unary(net.add(net.mul(ratio, ratio), 1.0), "SQRT"))
    length = net.select(net.equal(high, 0.0), high, length)
    infinite = net.elementwise(net.equal(a, math.inf), net.equal(b, math.inf), "OR")
    return net.select(infinite, constant(net, math.inf, a), length)


def _copysign(net: Net, a: Tensor, b: Tensor) -> Tensor:
    size = net.unary(a, "ABS")
    return net.select(sign_bit(net, b), net.unary(size, "NEG"), size)


def _xlogy(net: Net, x: Tensor, y: Tensor) -> Tensor:
    """x * log(y); 0 where x is 0 and y is not NaN."""
    product = net.mul(x, net.unary(y, "LOG"))
    zero = net.elementwise(net.equal(x, 0.0), net.equal(y, y), "AND")
    return net.select(zero, constant(net, 0, x), product)


def _xlog1py(net: Net, x: Tensor, y: Tensor) -> Tensor:
    product = net.mul(x, log1p(net, y))
    zero = net.elementwise(net.equal(x, 0.0), net.equal(y, y), "AND")
    return net.select(zero, constant(net, 0, x), product)


def _logaddexp2(net: Net, a: Tensor, b: Tensor) -> Tensor:
    scale = math.log(2.0)
    return net.div(log_add_exp(net, net.mul(a, scale), net.mul(b, scale)), scale)


TWO: dict[str, Formula] = {
    "atan2.default": _atan2, "arctan2.default": _atan2, "copysign.Tensor": _copysign,
    "copysign.Scalar": _copysign, "hypot.default": _hypot, "logaddexp.default": log_add_exp,
    "logaddexp2.default": _logaddexp2, "xlogy.Tensor": _xlogy, "xlogy.Scalar_Self": _xlogy,
    "xlogy.Scalar_Other": _xlogy, "special_xlog1py.default": _xlog1py,
    "special_xlog1py.self_scalar": _xlog1py, "special_xlog1py.other_scalar": _xlog1py,
}  # fmt: skip
"""Formulas in float32 over `self` and `other`; integers become float32."""


def _two(formula: Formula) -> Callable[..., Tensor]:
    def convert(net: Net, self: Operand, other: Operand) -> Tensor:
        operands = net.promote(self, other, to_float=True)
        return widened(net, lambda a, b: formula(net, a, b), *operands)

    return convert


for _name, _formula in TWO.items():
    TABLE.row(f"aten.{_name}", _two(_formula))


@TABLE.converter("aten.heaviside.default", support=Support(dtypes=FLOATS | INTEGERS))
def heaviside(net: Net, self: Tensor, values: Tensor) -> Tensor:
    """1 above 0, `values` at 0, otherwise 0, also for NaN."""
    zero, one = constant(net, 0, self), constant(net, 1, self)
    step = net.select(greater(net, self, zero), one, zero)
    return net.select(net.equal(self, 0), values, step)


@TABLE.converter("aten.special_entr.default")
def entr(net: Net, self: Tensor) -> Tensor:
    """-x log(x); 0 at 0, -inf below."""

    def formula(x: Tensor) -> Tensor:
        zero = constant(net, 0, x)
        inside = net.unary(net.mul(x, net.unary(x, "LOG")), "NEG")
        result = net.select(net.equal(x, 0), zero, inside)
        return net.select(less(net, x, zero), constant(net, -math.inf, x), result)

    x = self if is_float(self) else net.cast(self, torch.float32)
    return widened(net, formula, x)


@TABLE.converter("aten.nextafter.default", support=Support(dtypes=frozenset({"float32"})))
def nextafter(net: Net, self: Tensor, other: Tensor) -> Tensor:
    """The next float32 towards other.

    A little more than |x| / 2^24 is between half and one step of x's floating-point grid, in either
    direction: adding it rounds to exactly one step.
    """
    step = net.mul(net.unary(self, "ABS"), 2.0**-24 * (1 + 2.0**-10))
    limit = torch.finfo(torch.float32)
    tiny = net.scalar(limit.smallest_normal * limit.eps, torch.float32)
    step = maximum(net, step, tiny)
    up = greater(net, other, self)
    moved = net.select(up, net.add(self, step), net.sub(self, step))
    largest = net.select(
        up, net.scalar(limit.min, torch.float32), net.scalar(limit.max, torch.float32)
    )
    moved = net.select(net.unary(self, "ISINF"), largest, moved)
    # Equal operands keep their value, and a NaN in either is kept.
    differ = net.elementwise(up, less(net, other, self), "OR")
    return net.select(differ, moved, net.select(net.equal(self, self), other, self))


_HALF_RANGE = 80
"""Powers of two are looked up for exponents up to this; two look-ups reach twice as far."""


@TABLE.converter("aten.frexp.Tensor", support=Support(dtypes=frozenset({"float32", "int32"})))
def frexp(net: Net, self: Tensor) -> tuple[Tensor, Tensor]:
    """A fraction from 0.5 to 1 and an exponent; 0, infinities and NaN keep their value, with exponent 0.

    The logarithm only estimates the exponent; the powers of two come exact from a table.
    """
    size = net.unary(self, "ABS")
    zero = constant(net, 0, self)
    ordinary = net.elementwise(
        greater(net, size, zero), less(net, size, constant(net, math.inf, self)), "AND"
    )
    safe = net.select(ordinary, self, constant(net, 1, self))
    log = net.mul(net.unary(net.unary(safe, "ABS"), "LOG"), 1 / math.log(2))
    guess = net.add(net.cast(net.unary(log, "FLOOR"), torch.int32), 1)
    guess = net.binary(net.binary(guess, 2 - 2 * _HALF_RANGE, "MAX"), 2 * _HALF_RANGE - 2, "MIN")
    half = floor_quotient(net, guess, constant(net, 2, guess))
    table = net.constant(2.0 ** -torch.arange(-_HALF_RANGE, _HALF_RANGE + 1.0))
    fraction = safe
    for part in (half, net.sub(guess, half)):
        fraction = net.mul(fraction, net.gather(table, net.add(part, _HALF_RANGE), 0))
    large = net.unary(less(net, net.unary(fraction, "ABS"), constant(net, 1, self)), "NOT")
    small = less(net, net.unary(fraction, "ABS"), constant(net, 0.5, self))
    fraction = net.select(large, net.mul(fraction, 0.5), fraction)
    fraction = net.select(small, net.mul(fraction, 2.0), fraction)
    exponent = net.add(net.sub(guess, net.cast(small, torch.int32)), net.cast(large, torch.int32))
    return (
        net.select(ordinary, fraction, self),
        net.select(ordinary, exponent, constant(net, 0, exponent)),
    )
