"""Sizes of tensors and arithmetic on them: Python numbers where known, else 0-d tensors.

A size is an int or a 0-dimensional int64 tensor, a fraction is a float or a float32 tensor, and a
condition is a bool or a bool tensor.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import torch

from compiler.convert.idioms.bits import bitwise
from compiler.convert.idioms.numeric import constant, is_float, less_equal, negated
from compiler.convert.net import Net, Operand, Scalar
from compiler.convert.registry import Table
from compiler.network.network import Size, Tensor

TABLE = Table("sizes")


@TABLE.converter("aten.sym_size.int")
def sym_size(net: Net, self: Tensor, dim: int) -> Size:
    return net.size(self, dim)


@TABLE.converter("aten.sym_numel.default")
def sym_numel(net: Net, self: Tensor) -> Size:
    return net.product(net.sizes(self))


def _operands(net: Net, *numbers: Operand) -> tuple[Tensor, ...]:
    """The numbers as tensors of one dtype: float32 if any is a fraction, otherwise int64."""
    floats = any(isinstance(n, float) or (isinstance(n, Tensor) and is_float(n)) for n in numbers)
    dtype = torch.float32 if floats else torch.int64
    return tuple(net.tensor(n, dtype) for n in numbers)


def _layer(op: str) -> Callable[[Net, Tensor, Tensor], Tensor]:
    return lambda net, a, b: net.elementwise(a, b, op)


def _not(of: Callable[[Net, Tensor, Tensor], Tensor]) -> Callable[[Net, Tensor, Tensor], Tensor]:
    return lambda net, a, b: negated(net, of(net, a, b))


def _floordiv(net: Net, a: Tensor, b: Tensor) -> Tensor:
    if is_float(a):
        return net.unary(net.elementwise(a, b, "DIV"), "FLOOR")
    return net.elementwise(a, b, "FLOOR_DIV")


def _mod(net: Net, a: Tensor, b: Tensor) -> Tensor:
    return net.sub(a, net.mul(_floordiv(net, a, b), b))


def _truediv(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """In float32, in which floor and ceil are exact for sizes below 2**21."""
    return net.div(a, b)


_EQUAL, _GREATER, _LESS = _layer("EQUAL"), _layer("GREATER"), _layer("LESS")


BINARY: dict[str, tuple[Callable[..., Scalar], Callable[[Net, Tensor, Tensor], Tensor]]] = {
    "add": (lambda a, b: a + b, _layer("SUM")),
    "sub": (lambda a, b: a - b, _layer("SUB")),
    "mul": (lambda a, b: a * b, _layer("PROD")),
    "floordiv": (lambda a, b: a // b, _floordiv),
    "mod": (lambda a, b: a % b, _mod),
    "truediv": (lambda a, b: a / b, _truediv),
    "max": (max, _layer("MAX")),
    "min": (min, _layer("MIN")),
    "eq": (lambda a, b: a == b, _EQUAL),
    "ne": (lambda a, b: a != b, _not(_EQUAL)),
    "gt": (lambda a, b: a > b, _GREATER),
    "lt": (lambda a, b: a < b, _LESS),
    "le": (lambda a, b: a <= b, less_equal),
    "ge": (lambda a, b: a >= b, lambda net, a, b: less_equal(net, b, a)),
}
"""By name: the operation on numbers, and on tensors of one dtype."""


def _binary(
    known: Callable[..., Scalar], layer: Callable[[Net, Tensor, Tensor], Tensor]
) -> Callable[..., Operand]:
    def convert(net: Net, a: Operand, b: Operand) -> Operand:
        if isinstance(a, Tensor) or isinstance(b, Tensor):
            return layer(net, *_operands(net, a, b))
        return known(a, b)

    return convert


for _name, _functions in BINARY.items():
    TABLE.row(f"sym.{_name}", _binary(*_functions))


def _logical(
    op: str, known: Callable[[Scalar, Scalar], Scalar]
) -> Callable[[Net, Operand, Operand], Operand]:
    def convert(net: Net, a: Operand, b: Operand) -> Operand:
        if isinstance(a, Tensor) or isinstance(b, Tensor):
            return of_tensors(net, a, b)
        return known(a, b)

    of_tensors = bitwise(op)
    return convert


TABLE.row("sym.and", _logical("AND", operator.and_))


TABLE.row("sym.or", _logical("OR", operator.or_))


@TABLE.converter("sym.not")
def sym_not(net: Net, a: Operand) -> Operand:
    return negated(net, net.bool_of(a)) if isinstance(a, Tensor) else not a


@TABLE.converter("sym.neg")
def sym_neg(net: Net, a: Operand) -> Operand:
    return net.unary(a, "NEG") if isinstance(a, Tensor) else -a


@TABLE.converter("sym.pow", check=lambda b: None if isinstance(b, int | float) else
                 "expected a constant power, got a computed one")  # fmt: skip
def sym_pow(net: Net, a: Operand, b: int | float) -> Operand:
    """By multiplication for small whole powers, which sizes have; otherwise in float32."""
    if not isinstance(a, Tensor):
        return float(a**b) if isinstance(b, float) else a**b
    if not isinstance(b, int) or not 0 <= b <= 8:
        base, power = net.cast(a, torch.float32), net.scalar(b, torch.float32)
        return net.elementwise(base, power, "POW")
    result = constant(net, 1, a)
    for _ in range(b):
        result = net.mul(result, a)
    return result


@TABLE.converter("sym.int")
def sym_int(net: Net, a: Operand) -> Operand:
    return net.cast(a, torch.int64) if isinstance(a, Tensor) else int(a)


@TABLE.converter("sym.float")
def sym_float(net: Net, a: Operand) -> Operand:
    return net.cast(a, torch.float32) if isinstance(a, Tensor) else float(a)


def _rounded(op: str, known: Callable[[float], int]) -> Callable[[Net, Operand], Operand]:
    def convert(net: Net, a: Operand) -> Operand:
        if not isinstance(a, Tensor):
            return known(a)
        return net.cast(net.unary(a, op), torch.int64) if is_float(a) else a

    return convert


TABLE.row("sym.floor", _rounded("FLOOR", math.floor))


TABLE.row("sym.ceil", _rounded("CEIL", math.ceil))


TABLE.row("sym.round", _rounded("ROUND", round))


@TABLE.converter("sym.sqrt")
def sym_sqrt(net: Net, a: Operand) -> Operand:
    if not isinstance(a, Tensor):
        return math.sqrt(a)
    return net.unary(net.cast(a, torch.float32), "SQRT")
