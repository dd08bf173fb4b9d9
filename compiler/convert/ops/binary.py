"""Sums, products and quotients, elementwise, with torch's promotion and broadcasting."""

from __future__ import annotations

import torch

from compiler.convert.idioms.numeric import (
    constant,
    floor_quotient,
    is_float,
    less,
    negated,
    truncate,
    widened,
)
from compiler.convert.net import Net, Operand, Scalar
from compiler.convert.registry import Table
from compiler.network.network import Tensor

TABLE = Table("binary")


# -- sums and products ---------------------------------------------------------------------


def _scaled(net: Net, a: Operand, b: Operand, factor: Scalar, op: str) -> Tensor:
    """a <op> factor * b, rounded once. The sum of bools is their OR."""
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
    """Computed from the nearer end, as in torch, so that both ends are exact."""

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


def _quotient_down(net: Net, a: Tensor, b: Tensor) -> Tensor:
    if not is_float(a):
        return floor_quotient(net, a, b)
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
    function = _quotient_down if rounding_mode == "floor" else _whole_quotient
    return function(net, *net.promote(self, other))


@TABLE.converter("aten.floor_divide.default", "aten.floor_divide.Scalar")
def floor_divide(net: Net, self: Tensor, other: Operand) -> Tensor:
    return _quotient_down(net, *net.promote(self, other))


def _fmod(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """a - b * trunc(a / b); a itself where the quotient rounds to 0, as it does for infinite b."""
    quotient = _whole_quotient(net, a, b)
    rest = net.sub(a, net.mul(quotient, b))
    return net.select(net.equal(quotient, 0), a, rest) if is_float(a) else rest


def _remainder(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """`_fmod`, with the sign of b."""
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
