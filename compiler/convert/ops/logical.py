"""Comparisons, logic, and selection between two tensors. NaN equals nothing and has no order."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from compiler.convert.idioms.bits import logical
from compiler.convert.idioms.numeric import constant, is_float, is_nan, less, less_equal, negated
from compiler.convert.net import Net, Operand
from compiler.convert.registry import Table
from compiler.network.network import Tensor

TABLE = Table("logical")


# -- comparisons ---------------------------------------------------------------------------


def _ordered(net: Net, a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    """Promoted operands, with bools as int32, which TensorRT can order."""
    left, right = net.promote(a, b)
    if left.dtype == torch.bool:
        left, right = net.cast(left, torch.int32), net.cast(right, torch.int32)
    return left, right


COMPARISONS: dict[str, Callable[[Net, Operand, Operand], Tensor]] = {
    "eq": lambda net, a, b: net.equal(a, b),
    "ne": lambda net, a, b: negated(net, net.equal(a, b)),
    "lt": lambda net, a, b: net.compare(a, b, "LESS"),
    "gt": lambda net, a, b: net.compare(a, b, "GREATER"),
    "le": lambda net, a, b: less_equal(net, *_ordered(net, a, b)),
    "ge": lambda net, a, b: less_equal(net, *reversed(_ordered(net, a, b))),
}
_SPELLINGS = {
    "not_equal": "ne", "less": "lt", "greater": "gt", "less_equal": "le", "greater_equal": "ge",
}  # fmt: skip


def _comparison(function: Callable[[Net, Operand, Operand], Tensor]) -> Callable[..., Tensor]:
    return lambda net, self, other: function(net, self, other)


for _name in (*COMPARISONS, *_SPELLINGS):
    for _overload in ("Tensor", "Scalar"):
        _function = COMPARISONS[_SPELLINGS.get(_name, _name)]
        TABLE.row(f"aten.{_name}.{_overload}", _comparison(_function))


@TABLE.converter("aten.isclose.default")
def isclose(
    net: Net, self: Tensor, other: Tensor, rtol: float, atol: float, equal_nan: bool
) -> Tensor:
    """Equal, or a finite distance of at most atol + rtol * |other| apart."""
    close = net.equal(self, other)
    if equal_nan and is_float(self):
        both = net.elementwise(is_nan(net, self), is_nan(net, other), "AND")
        close = net.elementwise(close, both, "OR")
    if rtol == 0 and atol == 0:
        return close
    a, b = net.promote(self, other, to_float=True)
    distance = net.unary(net.sub(a, b), "ABS")
    allowed = net.add(net.unary(net.mul(b, rtol), "ABS"), atol)
    near = less_equal(net, distance, allowed)
    finite = less(net, distance, constant(net, math.inf, distance))
    return net.elementwise(close, net.elementwise(near, finite, "AND"), "OR")


# -- logic ---------------------------------------------------------------------------------


def _logical(op: str) -> Callable[..., Tensor]:
    return lambda net, self, other: logical(net, net.bool_of(self), net.bool_of(other), op)


for _name, _op in (("and", "AND"), ("or", "OR"), ("xor", "XOR")):
    TABLE.row(f"aten.logical_{_name}.default", _logical(_op))


# -- selection --------------------------------------------------------------------------------


@TABLE.converter(
    "aten.where.self", "aten.where.ScalarSelf", "aten.where.ScalarOther", "aten.where.Scalar"
)
def where(net: Net, condition: Tensor, self: Operand, other: Operand) -> Tensor:
    return net.select(net.bool_of(condition), *net.promote(self, other))


@TABLE.converter("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def masked_fill(net: Net, self: Tensor, mask: Tensor, value: Operand) -> Tensor:
    return net.select(mask, net.tensor(value, self.dtype), self)


def _is_in(net: Net, elements: Tensor, candidates: Tensor, invert: bool) -> Tensor:
    """Every element is compared with every candidate: n * m comparisons."""
    a, b = net.promote(elements, candidates)
    flat = net.reshape(b, [-1]) if b.ndim != 1 else b
    found = net.equal(net.unsqueeze(a, [a.ndim]), flat)
    count = net.reduce(net.cast(found, torch.int32), "MAX", [a.ndim], False)
    return net.equal(count, 0) if invert else net.bool_of(count)


@TABLE.converter("aten.isin.Tensor_Tensor")
def isin(
    net: Net, elements: Tensor, test_elements: Tensor, assume_unique: bool, invert: bool
) -> Tensor:
    return _is_in(net, elements, test_elements, invert)


@TABLE.converter("aten.isin.Tensor_Scalar")
def isin_scalar(
    net: Net, elements: Tensor, test_element: Operand, assume_unique: bool, invert: bool
) -> Tensor:
    found = net.equal(elements, test_element)
    return negated(net, found) if invert else found
