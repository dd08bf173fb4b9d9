"""The error function's complement and inverse, and the normal distribution, elementwise in float32."""

from __future__ import annotations

import math
from collections.abc import Callable

from compiler.convert.idioms.numeric import (
    as_float,
    constant,
    greater,
    less,
    log1p,
    polynomial,
    widened,
)
from compiler.convert.net import Net
from compiler.convert.registry import Table
from compiler.network.network import Tensor

TABLE = Table("error_function")

_ERFC = (
    0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418,
    0.37409196, 1.00002368, -1.26551223,
)  # fmt: skip
"""Chebyshev fit of log(erfc(z) exp(z z) / t) + ..., t = 1 / (1 + z/2); relative error 1.2e-7."""


def _erfc_tail(net: Net, z: Tensor, scaled: bool) -> Tensor:
    """erfc(z) for non-negative z; times exp(z z) if `scaled`."""
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
    """The logarithm of the normal distribution function, from erfcx where that is small."""
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
"""Two polynomials for w = -log(1 - x x): around w = 2.5, and around sqrt(w) = 3 (M. Giles, 2010)."""


def _erfinv(net: Net, x: Tensor) -> Tensor:
    return _erfinv_of(net, x, net.mul(net.sub(1.0, x), net.add(x, 1.0)))


def _ndtri(net: Net, p: Tensor) -> Tensor:
    """The inverse of the normal distribution function; 1 - x x is 4 p (1 - p), which is exact for small p."""
    x = net.sub(net.mul(p, 2.0), 1.0)
    rest = net.mul(net.mul(p, 4.0), net.sub(1.0, p))
    near = net.mul(_erfinv_of(net, x, rest), math.sqrt(2.0))
    # Far out, p is nearly the density divided by z, which improves a good z.
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
    "erfc": _erfc, "special_erfc": _erfc, "erfinv": _erfinv, "special_erfinv": _erfinv,
    "special_erfcx": _erfcx, "special_log_ndtr": _log_ndtr, "special_ndtri": _ndtri,
}  # fmt: skip


def _formula(function: Callable[[Net, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda net, self: widened(net, lambda x: function(net, x), as_float(net, self))


for _name, _function in FORMULAS.items():
    TABLE.row(f"aten.{_name}.default", _formula(_function))
