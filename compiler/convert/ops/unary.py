"""Functions of one number, elementwise. Integers become float32 where torch converts them to float."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from compiler.convert.idioms.numeric import (  # fmt: skip
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
    sign_bit,
    truncate,
    widened,
)
from compiler.convert.net import Net
from compiler.convert.registry import NUMBERS, Support, Table
from compiler.network.network import Tensor

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
"""One layer on floats; integers are unchanged."""


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


FORMULAS: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "rsqrt": _rsqrt, "log2": _log2, "log10": _log10, "log1p": log1p, "expm1": expm1,
    "exp2": _exp2, "sinc": _sinc,
    "deg2rad": lambda net, x: net.mul(x, math.pi / 180),
    "rad2deg": lambda net, x: net.mul(x, 180 / math.pi),
}  # fmt: skip


def _formula(function: Callable[[Net, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda net, self: widened(net, lambda x: function(net, x), as_float(net, self))


for _name, _function in FORMULAS.items():
    TABLE.row(f"aten.{_name}.default", _formula(_function))
TABLE.row("aten.special_exp2.default", _formula(_exp2))
TABLE.row("aten.special_expm1.default", _formula(expm1))


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
    """-1, 0 or 1; 0 for NaN, for which the SIGN layer would return NaN."""
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
    """Pi where a real number is negative, otherwise 0; NaN stays NaN."""
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
    """False everywhere, with the sizes of x."""
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
    """For an integer, in two's complement, -1 - x."""
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
