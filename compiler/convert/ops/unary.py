"""Functions of one number, elementwise. Integers become float32 where torch makes them float."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from compiler.convert.net import Net
from compiler.convert.network import Tensor
from compiler.convert.numeric import (
    as_float,
    clamp,
    constant,
    expm1,
    greater,
    is_float,
    is_nan,
    less,
    log1p,
    negated,
    polynomial,
    sign_bit,
    truncate,
    widened,
)  # fmt: skip
from compiler.convert.registry import NUMBERS, Support, Table

TABLE = Table("unary")

LAYERS = {
    "exp": "EXP", "log": "LOG", "sqrt": "SQRT", "reciprocal": "RECIP", "sin": "SIN", "cos": "COS",
    "tan": "TAN", "sinh": "SINH", "cosh": "COSH", "asin": "ASIN", "acos": "ACOS", "atan": "ATAN",
    "asinh": "ASINH", "acosh": "ACOSH", "atanh": "ATANH", "erf": "ERF",
    "arcsin": "ASIN", "arccos": "ACOS", "arctan": "ATAN", "arcsinh": "ASINH", "arccosh": "ACOSH",
    "arctanh": "ATANH", "special_erf": "ERF",
}  # fmt: skip
"""One layer on floats."""

ROUNDINGS = {"ceil": "CEIL", "floor": "FLOOR", "round": "ROUND"}
"""One layer on floats; integers stay as they are."""


def _on_floats(op: str) -> Callable[..., Tensor]:
    return lambda net, self: net.unary(as_float(net, self), op)


def _rounding(op: str) -> Callable[..., Tensor]:
    return lambda net, self: net.unary(self, op) if is_float(self) else self


for _name, _op in LAYERS.items():
    TABLE.row(f"aten.{_name}.default", _on_floats(_op))
for _name, _op in ROUNDINGS.items():
    TABLE.row(f"aten.{_name}.default", _rounding(_op), Support(dtypes=NUMBERS))


# -- formulas on float32; half precision is computed in float32 -----------------------------


def _rsqrt(net: Net, x: Tensor) -> Tensor:
    return net.unary(net.unary(x, "SQRT"), "RECIP")


def _log2(net: Net, x: Tensor) -> Tensor:
    return net.div(net.unary(x, "LOG"), math.log(2.0))


def _log10(net: Net, x: Tensor) -> Tensor:
    return net.div(net.unary(x, "LOG"), math.log(10.0))


def _exp2(net: Net, x: Tensor) -> Tensor:
    return net.elementwise(constant(net, 2.0, x), x, "POW")


def _sinc(net: Net, x: Tensor) -> Tensor:
    angle = net.mul(x, math.pi)
    return net.select(net.equal(x, 0), constant(net, 1, x), net.div(net.unary(angle, "SIN"), angle))


_ERFC = (
    0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418,
    0.37409196, 1.00002368, -1.26551223,
)  # fmt: skip
"""Chebyshev fit of log(erfc(z) exp(z z) / t) + ..., t = 1 / (1 + z/2); relative error 1.2e-7."""


def _erfc_tail(net: Net, z: Tensor, scaled: bool) -> Tensor:
    """erfc(z), `scaled` times exp(z z), of z not below 0."""
    t = net.unary(net.add(net.mul(z, 0.5), 1.0), "RECIP")
    power = polynomial(net, t, _ERFC)
    power = power if scaled else net.sub(power, net.mul(z, z))
    return net.mul(t, net.unary(power, "EXP"))


def _erfc(net: Net, x: Tensor) -> Tensor:
    tail = _erfc_tail(net, net.unary(x, "ABS"), False)
    return net.select(less(net, x, constant(net, 0, x)), net.sub(2.0, tail), tail)


def _erfcx(net: Net, x: Tensor) -> Tensor:
    tail = _erfc_tail(net, net.unary(x, "ABS"), True)
    twice = net.mul(net.unary(net.mul(x, x), "EXP"), 2.0)
    return net.select(less(net, x, constant(net, 0, x)), net.sub(twice, tail), tail)


def _log_ndtr(net: Net, x: Tensor) -> Tensor:
    """The logarithm of the normal distribution: by erfcx where the distribution is small."""
    z = net.mul(x, -math.sqrt(0.5))
    high = log1p(net, net.mul(_erfc(net, net.unary(z, "NEG")), -0.5))
    half = net.mul(_erfc_tail(net, net.unary(z, "ABS"), True), 0.5)
    low = net.sub(net.unary(half, "LOG"), net.mul(z, z))
    return net.select(less(net, x, constant(net, -1, x)), low, high)


_ERFINV_CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
    -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_ERFINV_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
    0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip
"""Two polynomials in w = -log(1 - x x): around 2.5, and around sqrt(w) = 3 (M. Giles, 2010)."""


def _erfinv(net: Net, x: Tensor) -> Tensor:
    return _erfinv_of(net, x, net.mul(net.sub(1.0, x), net.add(x, 1.0)))


def _ndtri(net: Net, p: Tensor) -> Tensor:
    """The normal distribution's inverse; 1 - x x is 4 p (1 - p), exact where p is small."""
    x = net.sub(net.mul(p, 2.0), 1.0)
    rest = net.mul(net.mul(p, 4.0), net.sub(1.0, p))
    near = net.mul(_erfinv_of(net, x, rest), math.sqrt(2.0))
    # Far out p is the density over z, nearly: that gives a better z from a good one.
    log = net.unary(p, "LOG")
    z = net.unary(net.mul(log, -2.0), "SQRT")
    for _ in range(4):
        inverse = net.div(1.0, net.mul(z, z))
        series = log1p(net, net.mul(polynomial(net, inverse, (-15.0, 3.0, -1.0)), inverse))
        density = net.add(net.unary(net.mul(z, math.sqrt(2 * math.pi)), "LOG"), log)
        z = net.unary(net.mul(net.sub(series, density), 2.0), "SQRT")
    far = net.elementwise(
        less(net, p, constant(net, 1e-6, p)), greater(net, p, constant(net, 0, p)), "AND"
    )
    return net.select(far, net.unary(z, "NEG"), near)


def _erfinv_of(net: Net, x: Tensor, rest: Tensor) -> Tensor:
    """erfinv(x), given rest = 1 - x x."""
    w = net.unary(net.unary(rest, "LOG"), "NEG")
    centre = polynomial(net, net.sub(w, 2.5), _ERFINV_CENTRE)
    tail = polynomial(net, net.sub(net.unary(w, "SQRT"), 3.0), _ERFINV_TAIL)
    inside = net.mul(net.select(less(net, w, constant(net, 5, w)), centre, tail), x)
    at_end = net.equal(rest, 0.0)
    return net.select(at_end, net.mul(x, math.inf), inside)


FORMULAS: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "rsqrt": _rsqrt, "log2": _log2, "log10": _log10, "log1p": log1p, "expm1": expm1,
    "exp2": _exp2, "sinc": _sinc, "erfc": _erfc, "erfinv": _erfinv,
    "special_erfcx": _erfcx, "special_log_ndtr": _log_ndtr, "special_ndtri": _ndtri,
    "deg2rad": lambda net, x: net.mul(x, math.pi / 180),
    "rad2deg": lambda net, x: net.mul(x, 180 / math.pi),
}  # fmt: skip


def _formula(function: Callable[[Net, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda net, self: widened(net, lambda x: function(net, x), as_float(net, self))


for _name, _function in FORMULAS.items():
    TABLE.row(f"aten.{_name}.default", _formula(_function))
TABLE.row("aten.special_exp2.default", _formula(_exp2))
TABLE.row("aten.special_expm1.default", _formula(expm1))
TABLE.row("aten.special_erfc.default", _formula(_erfc))
TABLE.row("aten.special_erfinv.default", _formula(_erfinv))


@TABLE.converter("aten.logit.default", "aten.special_logit.default")
def logit(net: Net, self: Tensor, eps: float | None) -> Tensor:
    def formula(x: Tensor) -> Tensor:
        if eps is not None:
            x = clamp(net, x, eps, 1 - eps)
        return net.unary(net.div(x, net.sub(1.0, x)), "LOG")

    return widened(net, formula, as_float(net, self))


# -- sign, magnitude, rounding -------------------------------------------------------------


def _no_bool(net: Net, self: Tensor) -> Tensor:
    return net.cast(self, torch.int32) if self.dtype == torch.bool else self


@TABLE.converter("aten.abs.default", "aten.absolute.default", support=Support(dtypes=NUMBERS))
def absolute(net: Net, self: Tensor) -> Tensor:
    return net.unary(self, "ABS")


@TABLE.converter("aten.neg.default", "aten.negative.default", support=Support(dtypes=NUMBERS))
def neg(net: Net, self: Tensor) -> Tensor:
    return net.unary(self, "NEG")


@TABLE.converter("aten.positive.default", support=Support(dtypes=NUMBERS))
def positive(net: Net, self: Tensor) -> Tensor:
    return self


@TABLE.converter("aten.sign.default", "aten.sgn.default")
def sign(net: Net, self: Tensor) -> Tensor:
    """-1, 0 or 1; 0 for NaN, where the SIGN layer would keep it."""
    if self.dtype == torch.bool:
        return self
    if not is_float(self):
        return net.unary(self, "SIGN")
    zero, one, minus = (constant(net, n, self) for n in (0, 1, -1))
    rest = net.select(less(net, self, zero), minus, zero)
    return net.select(greater(net, self, zero), one, rest)


@TABLE.converter("aten.signbit.default")
def signbit(net: Net, self: Tensor) -> Tensor:
    return sign_bit(net, _no_bool(net, self))


@TABLE.converter("aten.angle.default")
def angle(net: Net, self: Tensor) -> Tensor:
    """Pi where a real number is negative, else 0; NaN stays."""
    x = as_float(net, self)
    zero = constant(net, 0, x)
    result = net.select(less(net, x, zero), constant(net, math.pi, x), zero)
    return net.select(is_nan(net, x), x, result)


@TABLE.converter("aten.square.default")
def square(net: Net, self: Tensor) -> Tensor:
    x = net.cast(self, torch.int64) if self.dtype == torch.bool else self
    return net.mul(x, x)


@TABLE.converter("aten.trunc.default", "aten.fix.default", support=Support(dtypes=NUMBERS))
def trunc(net: Net, self: Tensor) -> Tensor:
    return truncate(net, self)


@TABLE.converter("aten.frac.default")
def frac(net: Net, self: Tensor) -> Tensor:
    return net.sub(self, truncate(net, self))


@TABLE.converter("aten.round.decimals", support=Support(dtypes=NUMBERS))
def round_decimals(net: Net, self: Tensor, decimals: int) -> Tensor:
    if not is_float(self):
        return self
    scale = float(10 ** abs(decimals))
    if decimals < 0:
        return widened(net, lambda x: net.mul(net.unary(net.div(x, scale), "ROUND"), scale), self)
    return widened(net, lambda x: net.div(net.unary(net.mul(x, scale), "ROUND"), scale), self)


# -- tests ---------------------------------------------------------------------------------


def _never(net: Net, x: Tensor) -> Tensor:
    """False everywhere, in the sizes of x."""
    return negated(net, net.elementwise(x, x, "EQUAL"))


@TABLE.converter("aten.isnan.default")
def isnan(net: Net, self: Tensor) -> Tensor:
    return is_nan(net, self) if is_float(self) else _never(net, self)


@TABLE.converter("aten.isinf.default")
def isinf(net: Net, self: Tensor) -> Tensor:
    return net.unary(self, "ISINF") if is_float(self) else _never(net, self)


@TABLE.converter("aten.isposinf.default")
def isposinf(net: Net, self: Tensor) -> Tensor:
    return net.equal(self, math.inf) if is_float(self) else _never(net, self)


@TABLE.converter("aten.isneginf.default")
def isneginf(net: Net, self: Tensor) -> Tensor:
    return net.equal(self, -math.inf) if is_float(self) else _never(net, self)


@TABLE.converter("aten.isfinite.default")
def isfinite(net: Net, self: Tensor) -> Tensor:
    if not is_float(self):
        return net.elementwise(self, self, "EQUAL")
    return less(net, net.unary(self, "ABS"), constant(net, math.inf, self))


@TABLE.converter("aten.logical_not.default")
def logical_not(net: Net, self: Tensor) -> Tensor:
    return negated(net, self) if self.dtype == torch.bool else net.equal(self, 0)


@TABLE.converter("aten.bitwise_not.default")
def bitwise_not(net: Net, self: Tensor) -> Tensor:
    """Of an integer, in two's complement: -1 - x."""
    return negated(net, self) if self.dtype == torch.bool else net.sub(-1, self)


@TABLE.converter("aten.nan_to_num.default")
def nan_to_num(
    net: Net, self: Tensor, nan: float | None, posinf: float | None, neginf: float | None
) -> Tensor:
    if not is_float(self):
        return self
    limits = torch.finfo(self.dtype)
    high = limits.max if posinf is None else posinf
    low = limits.min if neginf is None else neginf
    result = net.select(is_nan(net, self), constant(net, nan or 0.0, self), self)
    for value, replacement in ((math.inf, high), (-math.inf, low)):
        result = net.select(net.equal(self, value), constant(net, replacement, self), result)
    return result
