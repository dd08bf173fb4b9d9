"""Arithmetic, functions and comparisons of complex numbers, in real arithmetic."""

from __future__ import annotations

import functools
from typing import Any

import torch

from compiler.lower.complex.table import Rules, zeros
from compiler.lower.complex.values import Complex, Part, Values

aten = torch.ops.aten
RULES = Rules()


# -- arithmetic ----------------------------------------------------------------------------


@RULES.rule("_conj.default", "_conj_physical.default", "conj.default", "conj_physical.default")
def conj(v: Values, self: Any) -> Complex:
    """The conjugate."""
    value = v.of(self)
    return Complex(value.real, v.neg(value.imag))


@RULES.rule("adjoint.default", "mH.default")
def _adjoint(v: Values, self: Any) -> Complex:
    value: Complex = conj(v, self)
    return value.map(lambda part: v.call(aten.transpose.int, part, -2, -1))


def total(v: Values, a: Complex, b: Complex) -> Complex:
    """a + b, broadcast."""
    imag = v.add(a.imag, b.imag)
    if imag is not None and (a.imag is None or b.imag is None):
        imag = v.wide(imag, a.real, b.real)
    return Complex(v.add(a.real, b.real), imag)


@RULES.rule("add.Tensor", "add.Scalar")
def _add(v: Values, self: Any, other: Any, alpha: Any) -> Complex:
    return total(v, v.of(self), scaled(v, v.of(other), alpha))


@RULES.rule("sub.Tensor", "sub.Scalar")
def _sub(v: Values, self: Any, other: Any, alpha: Any) -> Complex:
    return total(v, v.of(self), scaled(v, v.of(other), -alpha))


@RULES.rule("rsub.Tensor", "rsub.Scalar")
def _rsub(v: Values, self: Any, other: Any, alpha: Any) -> Complex:
    return total(v, v.of(other), scaled(v, v.of(self), -alpha))


def scaled(v: Values, value: Complex, factor: Any) -> Complex:
    """The value times a number."""
    if factor == -1:
        return value.map(v.neg)
    return value if factor == 1 else v.product(value, v.of(factor), v.mul)


@RULES.rule("mul.Tensor", "mul.Scalar")
def _mul(v: Values, self: Any, other: Any) -> Complex:
    return v.product(v.of(self), v.of(other), v.mul)


@RULES.rule("div.Tensor", "div.Scalar")
def _div(v: Values, self: Any, other: Any) -> Complex:
    return _quotient(v, v.of(self), v.of(other))


@RULES.rule("reciprocal.default")
def _reciprocal(v: Values, self: Any) -> Complex:
    return _quotient(v, Complex(1.0), v.of(self))


def _quotient(v: Values, a: Complex, b: Complex) -> Complex:
    """a / b; both parts of b are first divided by the larger one, so that squares stay in range."""
    if b.imag is None:
        return a.map(lambda part: v.div(part, b.real))
    if not isinstance(b.imag, torch.fx.Node):
        inverse = 1 / complex(b.real, b.imag)
        return v.product(a, Complex(inverse.real, inverse.imag), v.mul)
    sizes = [v.call(aten.abs.default, part) for part in (b.real, b.imag)]
    size = v.call(aten.maximum.default, *sizes)
    small = b.map(lambda part: v.div(part, size))
    square = v.add(v.mul(b.real, small.real), v.mul(b.imag, small.imag))
    above = v.product(a, Complex(small.real, v.neg(small.imag)), v.mul)
    return above.map(lambda part: v.div(part, square))


@RULES.rule("abs.default")
def _abs(v: Values, self: Any) -> Part:
    return v.length(v.of(self))


@RULES.rule("angle.default")
def _angle(v: Values, self: Any) -> Part:
    return v.angle(v.of(self))


@RULES.rule("sgn.default")
def _sgn(v: Values, self: Any) -> Complex:
    """z / |z|, and 0 for 0."""
    value = v.of(self)
    length = v.length(value)
    zero = v.call(aten.eq.Scalar, length, 0)
    length = v.call(aten.masked_fill.Scalar, length, zero, 1)
    return value.map(lambda part: v.div(part, length))


# -- powers and functions ------------------------------------------------------------------


def _exponential(v: Values, value: Complex) -> Complex:
    return v.turned(v.call(aten.exp.default, value.real), value.imag)


def _logarithm(v: Values, value: Complex) -> Complex:
    return Complex(v.call(aten.log.default, v.length(value)), v.angle(value))


@RULES.rule("exp.default")
def _exp(v: Values, self: Any) -> Complex:
    return _exponential(v, v.of(self))


@RULES.rule("log.default")
def _log(v: Values, self: Any) -> Complex:
    return _logarithm(v, v.of(self))


@RULES.rule("sqrt.default")
def _sqrt(v: Values, self: Any) -> Complex:
    value = v.of(self)
    return v.turned(v.call(aten.sqrt.default, v.length(value)), v.mul(v.angle(value), 0.5))


@RULES.rule("pow.Tensor_Scalar")
def _pow(v: Values, self: Any, exponent: Any) -> Complex | None:
    """Integer powers up to 8 as products; others from length and angle, undefined at 0."""
    value = v.of(self)
    if exponent in range(1, 9):
        return functools.reduce(lambda a, b: v.product(a, b, v.mul), [value] * int(exponent))
    if isinstance(exponent, complex) or exponent <= 0:
        return None
    length = v.call(aten.pow.Tensor_Scalar, v.length(value), exponent)
    return v.turned(length, v.mul(v.angle(value), exponent))


def _circular(
    name: str, signs: tuple[int, int], real: tuple[Any, Any], imag: tuple[Any, Any]
) -> None:
    """sin, cos, sinh and cosh by the addition theorem: each part is a product of two functions."""

    @RULES.rule(name)
    def convert(v: Values, self: Any) -> Complex:
        value = v.of(self)
        x, y = value.real, v.imag(value)
        parts = [v.mul(v.call(f, x), v.call(g, y)) for f, g in (real, imag)]
        return Complex(
            *(part if sign > 0 else v.neg(part) for part, sign in zip(parts, signs, strict=True))
        )


_SIN, _COS = aten.sin.default, aten.cos.default
_SINH, _COSH = aten.sinh.default, aten.cosh.default
_circular("sin.default", (1, 1), (_SIN, _COSH), (_COS, _SINH))
_circular("cos.default", (1, -1), (_COS, _COSH), (_SIN, _SINH))
_circular("sinh.default", (1, 1), (_SINH, _COS), (_COSH, _SIN))
_circular("cosh.default", (1, 1), (_COSH, _COS), (_SINH, _SIN))


# -- comparisons and tests -----------------------------------------------------------------


@RULES.rule("eq.Tensor", "eq.Scalar")
def _eq(v: Values, self: Any, other: Any) -> Part:
    return _compared(v, self, other, aten.eq, aten.logical_and.default)


@RULES.rule("ne.Tensor", "ne.Scalar")
def _ne(v: Values, self: Any, other: Any) -> Part:
    return _compared(v, self, other, aten.ne, aten.logical_or.default)


def _compared(v: Values, self: Any, other: Any, op: Any, join: Any) -> Part:
    a, b = v.of(self), v.of(other)
    found = []
    for x, y in ((a.real, b.real), (zeros(v, a), zeros(v, b))):
        found.append(v.call(op.Tensor if isinstance(y, torch.fx.Node) else op.Scalar, x, y))
    return v.call(join, *found)


def _tested(name: str, join: Any) -> None:
    op = getattr(aten, name).default

    @RULES.rule(f"{name}.default")
    def convert(v: Values, self: Any) -> Part:
        value = v.of(self)
        return v.call(join, v.call(op, value.real), v.call(op, v.imag(value)))


_tested("isnan", aten.logical_or.default)
_tested("isinf", aten.logical_or.default)
_tested("isfinite", aten.logical_and.default)
