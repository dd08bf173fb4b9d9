"""Arithmetic on two numbers, elementwise, with torch's promotion and broadcasting."""

from __future__ import annotations

from collections.abc import Callable

import torch

from compiler.convert.idioms.numeric import (
    constant,
    is_float,
    is_nan,
    less,
    maximum,
    minimum,
    negated,
    truncate,
    widened,
)
from compiler.convert.net import Net, Operand, Scalar
from compiler.convert.registry import Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("binary")


# -- sums and products ---------------------------------------------------------------------


def _scaled(net: Net, a: Operand, b: Operand, factor: Scalar, op: str) -> Tensor:
    """a <op> factor * b, rounded once. Sums of bools are their OR."""
    left, right = net.promote(a, b)
    if left.dtype == torch.bool:
        if not factor:
            return left
        return net.elementwise(left, right, "OR")
    if factor == 1:
        return net.elementwise(left, right, op)

    def formula(x: Tensor, y: Tensor) -> Tensor:
        return net.elementwise(x, net.mul(y, constant(net, factor, y)), op)

    return widened(net, formula, left, right)


@TABLE.converter("aten.add.Tensor", "aten.add.Scalar")
def add(net: Net, self: Tensor, other: Operand, alpha: Scalar) -> Tensor:
    return _scaled(net, self, other, alpha, "SUM")


@TABLE.converter(
    "aten.sub.Tensor", "aten.sub.Scalar", "aten.subtract.Tensor", "aten.subtract.Scalar"
)
def sub(net: Net, self: Tensor, other: Operand, alpha: Scalar) -> Tensor:
    return _scaled(net, self, other, alpha, "SUB")


@TABLE.converter("aten.rsub.Tensor", "aten.rsub.Scalar")
def rsub(net: Net, self: Tensor, other: Operand, alpha: Scalar) -> Tensor:
    return _scaled(net, other, self, alpha, "SUB")


@TABLE.converter(
    "aten.mul.Tensor", "aten.mul.Scalar", "aten.multiply.Tensor", "aten.multiply.Scalar"
)
def mul(net: Net, self: Tensor, other: Operand) -> Tensor:
    left, right = net.promote(self, other)
    return net.elementwise(left, right, "AND" if left.dtype == torch.bool else "PROD")


@TABLE.converter("aten.addcmul.default")
def addcmul(net: Net, self: Tensor, tensor1: Tensor, tensor2: Tensor, value: Scalar) -> Tensor:
    def formula(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return net.add(x, net.mul(net.mul(a, b), constant(net, value, a)))

    return widened(net, formula, *net.promote(self, tensor1, tensor2))


@TABLE.converter("aten.addcdiv.default")
def addcdiv(net: Net, self: Tensor, tensor1: Tensor, tensor2: Tensor, value: Scalar) -> Tensor:
    def formula(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return net.add(x, net.mul(net.div(a, b), constant(net, value, a)))

    return widened(net, formula, *net.promote(self, tensor1, tensor2, to_float=True))


def _lerp(net: Net, self: Tensor, end: Tensor, weight: Operand) -> Tensor:
    """From the nearer end, as torch does it, so that both ends are met exactly."""

    def formula(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        change = net.sub(b, a)
        near = net.add(a, net.mul(w, change))
        far = net.sub(b, net.mul(net.sub(1.0, w), change))
        first = less(net, net.unary(w, "ABS"), constant(net, 0.5, w))
        return net.select(first, near, far)

    return widened(net, formula, self, end, net.tensor(weight, self.dtype))


@TABLE.converter("aten.lerp.Scalar", "aten.lerp.Tensor")
def lerp(net: Net, self: Tensor, end: Tensor, weight: Operand) -> Tensor:
    return _lerp(net, self, end, weight)


# -- division ------------------------------------------------------------------------------


def _floor_quotient(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """floor(a / b); TensorRT's FLOOR_DIV rounds integers down for either sign."""
    if not is_float(a):
        return net.elementwise(a, b, "FLOOR_DIV")
    return widened(net, lambda x, y: net.unary(net.div(x, y), "FLOOR"), a, b)


def _whole_quotient(net: Net, a: Tensor, b: Tensor) -> Tensor:
    if not is_float(a):
        return net.elementwise(a, b, "DIV")
    return widened(net, lambda x, y: truncate(net, net.div(x, y)), a, b)


@TABLE.converter(
    "aten.div.Tensor", "aten.div.Scalar", "aten.true_divide.Tensor", "aten.true_divide.Scalar",
    "aten.divide.Tensor", "aten.divide.Scalar",
)  # fmt: skip
def div(net: Net, self: Tensor, other: Operand) -> Tensor:
    return net.div(self, other)


@TABLE.converter(
    "aten.div.Tensor_mode", "aten.div.Scalar_mode", "aten.divide.Tensor_mode",
    "aten.divide.Scalar_mode",
)  # fmt: skip
def div_mode(net: Net, self: Tensor, other: Operand, rounding_mode: str | None) -> Tensor:
    if rounding_mode is None:
        return net.div(self, other)
    function = _floor_quotient if rounding_mode == "floor" else _whole_quotient
    return function(net, *net.promote(self, other))


@TABLE.converter("aten.floor_divide.default", "aten.floor_divide.Scalar")
def floor_divide(net: Net, self: Tensor, other: Operand) -> Tensor:
    return _floor_quotient(net, *net.promote(self, other))


def _fmod(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """a - b * trunc(a / b); a itself where the quotient rounds to 0, b infinite included."""
    quotient = _whole_quotient(net, a, b)
    rest = net.sub(a, net.mul(quotient, b))
    return net.select(net.equal(quotient, 0), a, rest) if is_float(a) else rest


def _remainder(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """`_fmod` moved to the sign of b."""
    rest = _fmod(net, a, b)
    zero = constant(net, 0, a)
    signs = net.elementwise(less(net, rest, zero), less(net, b, zero), "XOR")
    moved = net.elementwise(signs, negated(net, net.equal(rest, 0)), "AND")
    return net.select(moved, net.add(rest, b), rest)


@TABLE.converter("aten.fmod.Tensor", "aten.fmod.Scalar")
def fmod(net: Net, self: Tensor, other: Operand) -> Tensor:
    return widened(net, lambda a, b: _fmod(net, a, b), *net.promote(self, other))


@TABLE.converter("aten.remainder.Tensor", "aten.remainder.Scalar", "aten.remainder.Scalar_Tensor")
def remainder(net: Net, self: Operand, other: Operand) -> Tensor:
    return widened(net, lambda a, b: _remainder(net, a, b), *net.promote(self, other))


# -- powers --------------------------------------------------------------------------------


def _is_whole(value: object) -> bool:
    """Whether an argument, seen before conversion, is an integer or a bool."""
    if isinstance(value, Value):
        return value.dtype in ("int32", "int64", "bool", "symint", "symbool")
    return isinstance(value, int)


def _check_power(self: object, exponent: object) -> str | None:
    if not (_is_whole(self) and _is_whole(exponent)) or isinstance(exponent, int):
        return None
    if isinstance(self, int) and self > 0 and self & (self - 1) == 0:
        return None  # float32 holds powers of 2
    return (
        "integer powers run in float32 in TensorRT: expected a constant exponent, "
        "or a constant base that is a power of 2"
    )


def _whole_power(net: Net, x: Tensor, exponent: int) -> Tensor:
    """x multiplied by itself, by squaring; wraps around as torch's integers do."""
    result, square = None, x
    while exponent:
        if exponent & 1:
            result = square if result is None else net.mul(result, square)
        exponent >>= 1
        if exponent:
            square = net.mul(square, square)
    return net.select(net.equal(x, x), constant(net, 1, x), x) if result is None else result


@TABLE.converter("aten.pow.Tensor_Scalar", check=_check_power)
def pow_scalar(net: Net, self: Tensor, exponent: Operand) -> Tensor:
    x, power = net.promote(self, exponent)
    if not is_float(x) and isinstance(exponent, int):
        return _whole_power(net, x, exponent)
    if exponent == 2:
        return net.mul(x, x)
    if exponent == 0.5:
        return net.unary(x, "SQRT")
    if exponent == 3:
        return widened(net, lambda v: net.mul(net.mul(v, v), v), x)
    if exponent == -0.5:
        return widened(net, lambda v: net.unary(net.unary(v, "SQRT"), "RECIP"), x)
    return net.elementwise(x, power, "POW")


@TABLE.converter("aten.pow.Scalar", "aten.pow.Tensor_Tensor", check=_check_power)
def pow_(net: Net, self: Operand, exponent: Operand) -> Tensor:
    return net.binary(self, exponent, "POW")


@TABLE.converter("aten.ldexp.Tensor")
def ldexp(net: Net, self: Tensor, other: Tensor) -> Tensor:
    power = net.binary(2.0, other, "POW")
    return net.mul(self, power)


# -- extremes ------------------------------------------------------------------------------


@TABLE.converter("aten.maximum.default", "aten.max.other")
def maximum_(net: Net, self: Tensor, other: Tensor) -> Tensor:
    return maximum(net, *net.promote(self, other))


@TABLE.converter("aten.minimum.default", "aten.min.other")
def minimum_(net: Net, self: Tensor, other: Tensor) -> Tensor:
    return minimum(net, *net.promote(self, other))


def _other_than_nan(
    order: str, whole: Callable[[Net, Tensor, Tensor], Tensor]
) -> Callable[[Net, Tensor, Tensor], Tensor]:
    """fmax or fmin: the number, where only one of the two is one."""

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
