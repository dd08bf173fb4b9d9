"""The gamma function's relatives, elementwise in float32: lgamma, digamma, polygamma, zeta."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from compiler.convert.idioms.numeric import as_float, constant, less, polynomial, widened
from compiler.convert.net import Net, Operand
from compiler.convert.registry import Table
from compiler.network.network import Tensor

TABLE = Table("gamma")

_LANCZOS = (
    1.000000000190015, 76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155,
    0.1208650973866179e-2, -0.5395239384953e-5,
)  # fmt: skip
"""Gamma(x) = sqrt(2 pi) / x * (c0 + sum ci / (x + i)) * (x + 5.5)^(x + 0.5) * exp(-x - 5.5)."""

_BERNOULLI = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160)
"""B2j / (2j)!, for the Euler-Maclaurin sum."""

TERMS = 32
"""Terms of zeta before the Euler-Maclaurin remainder takes over, which needs a positive argument."""


def _sine_of_pi(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    """sin(pi x) and cos(pi x) from the fraction of x; exactly 0 and +-1 at whole numbers."""
    whole = net.unary(x, "ROUND")
    angle = net.mul(net.sub(x, whole), math.pi)
    half = net.mul(whole, 0.5)
    odd = net.sub(half, net.unary(half, "FLOOR"))  # 0 or 0.5
    sign = net.sub(1.0, net.mul(odd, 4.0))
    return net.mul(net.unary(angle, "SIN"), sign), net.mul(net.unary(angle, "COS"), sign)


def log_gamma(net: Net, x: Tensor) -> Tensor:
    """log |Gamma(x)|: Lanczos' sum from 0.5 up, the reflection formula below."""
    low = less(net, x, constant(net, 0.5, x))
    y = net.select(low, net.sub(1.0, x), x)
    series = constant(net, _LANCZOS[0], x)
    for i, c in enumerate(_LANCZOS[1:], 1):
        series = net.add(series, net.div(c, net.add(y, float(i))))
    t = net.add(y, 5.5)
    power = net.sub(net.mul(net.add(y, 0.5), net.unary(t, "LOG")), t)
    factor = net.div(net.mul(series, math.sqrt(2 * math.pi)), y)
    high = net.add(power, net.unary(factor, "LOG"))
    sine = net.unary(_sine_of_pi(net, x)[0], "ABS")
    reflected = net.sub(net.unary(net.div(math.pi, sine), "LOG"), high)
    result = net.select(low, reflected, high)
    infinite = net.equal(net.unary(x, "ABS"), math.inf)
    return net.select(infinite, constant(net, math.inf, x), result)


def _digamma(net: Net, x: Tensor) -> Tensor:
    """The asymptotic series after six steps up, reflection below zero; infinite at 0."""
    low = less(net, x, constant(net, 0, x))
    y = net.select(low, net.sub(1.0, x), x)
    steps = net.unary(y, "RECIP")
    for i in range(1, 6):
        steps = net.add(steps, net.unary(net.add(y, float(i)), "RECIP"))
    z = net.add(y, 6.0)
    inverse = net.unary(z, "RECIP")
    square = net.mul(inverse, inverse)
    rest = polynomial(net, square, (-1 / 252, 1 / 120, -1 / 12, 0.0))
    high = net.add(net.sub(net.unary(z, "LOG"), net.mul(inverse, 0.5)), net.sub(rest, steps))
    sine, cosine = _sine_of_pi(net, x)
    reflected = net.sub(high, net.div(net.mul(cosine, math.pi), sine))
    reflected = net.select(net.equal(sine, 0.0), constant(net, math.nan, x), reflected)
    result = net.select(low, reflected, high)
    pole = net.unary(net.unary(x, "RECIP"), "NEG")  # -inf or inf, by the sign of the zero
    return net.select(net.equal(x, 0.0), pole, result)


def zeta(net: Net, s: Tensor, q: Tensor) -> Tensor:
    """Hurwitz' zeta: the sum of (q + k)^-s. NaN below q = 1 - TERMS, where these terms are too few."""
    exponent, half = net.unary(s, "NEG"), net.mul(s, 0.5)
    odd = net.unary(net.equal(half, net.unary(half, "FLOOR")), "NOT")
    total = None
    for k in range(TERMS):
        base = net.add(q, float(k)) if k else q
        power = net.elementwise(net.unary(base, "ABS"), exponent, "POW")
        flipped = _both(net, net.compare(base, 0.0, "LESS"), odd)
        power = _chosen(net, flipped, net.unary(power, "NEG"), power)
        total = power if total is None else net.add(total, power)
    assert total is not None
    result = net.add(total, _rest(net, s, net.add(q, float(TERMS))))
    return _at_poles(net, s, q, result)


def _rest(net: Net, s: Tensor, w: Tensor) -> Tensor:
    """The sum of (w + k)^-s by the Euler-Maclaurin formula, for w from about 8 up."""
    power = net.elementwise(w, net.unary(s, "NEG"), "POW")
    rest = net.add(net.div(net.mul(power, w), net.sub(s, 1.0)), net.mul(power, 0.5))
    factor = s
    for j, c in enumerate(_BERNOULLI):
        power = net.div(power, w)
        rest = net.add(rest, net.mul(net.mul(factor, power), c))
        factor = net.mul(factor, net.mul(net.add(s, 2.0 * j + 1), net.add(s, 2.0 * j + 2)))
        power = net.div(power, w)
    return rest


def _at_poles(net: Net, s: Tensor, q: Tensor, result: Tensor) -> Tensor:
    """As in torch: infinite at s = 1 and at whole q up to 0, NaN where no real value exists."""
    nan, infinite = constant(net, math.nan, q), constant(net, math.inf, q)
    negative = net.unary(net.compare(q, 0.0, "GREATER"), "NOT")
    broken = net.unary(net.equal(s, net.unary(s, "FLOOR")), "NOT")
    undefined = _both(net, negative, broken)
    undefined = net.elementwise(undefined, less(net, q, constant(net, 1.0 - TERMS, q)), "OR")
    result = net.select(undefined, nan, result)
    whole = net.equal(q, net.unary(q, "FLOOR"))
    result = net.select(net.elementwise(whole, negative, "AND"), infinite, result)
    result = _chosen(net, net.equal(s, 1.0), infinite, result)
    return _chosen(net, net.compare(s, 1.0, "LESS"), nan, result)


# TensorRT-RTX fails to build some networks that combine a constant scalar bool with a computed one.


def _both(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """a AND b, where b may be constant."""
    if b.constant is None:
        return net.elementwise(a, b, "AND")
    return a if bool(b.constant.all()) else b


def _chosen(net: Net, condition: Tensor, then: Tensor, otherwise: Tensor) -> Tensor:
    """select, where the condition may be constant."""
    if condition.constant is not None and not bool(condition.constant.any()):
        return otherwise
    return net.select(condition, then, otherwise)


def _trigamma(net: Net, x: Tensor) -> Tensor:
    """The sum of 1 / (x + k)^2; reflection below 0.5 with torch's sine, so huge at whole numbers."""
    low = less(net, x, constant(net, 0.5, x))
    y = net.select(low, net.sub(1.0, x), x)
    high = _rest(net, constant(net, 2, x), net.add(y, 8.0))
    for k in range(8):
        base = net.unary(net.add(y, float(k)), "RECIP")
        high = net.add(high, net.mul(base, base))
    ratio = net.div(math.pi, net.unary(net.mul(x, math.pi), "SIN"))
    return net.select(low, net.sub(net.mul(ratio, ratio), high), high)


def _formula(function: Callable[[Net, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda net, self: widened(net, lambda x: function(net, x), as_float(net, self))


TABLE.row("aten.lgamma.default", _formula(log_gamma))
TABLE.row("aten.special_gammaln.default", _formula(log_gamma))
TABLE.row("aten.digamma.default", _formula(_digamma))
TABLE.row("aten.special_psi.default", _formula(_digamma))
TABLE.row("aten.special_digamma.default", _formula(_digamma))


@TABLE.converter("aten.polygamma.default", "aten.special_polygamma.default")
def polygamma(net: Net, n: int, self: Tensor) -> Tensor:
    """The n-th derivative of digamma."""

    def formula(x: Tensor) -> Tensor:
        if n < 2:
            return _trigamma(net, x) if n else _digamma(net, x)
        return net.mul(
            zeta(net, constant(net, n + 1, x), x), float((-1) ** (n + 1) * math.factorial(n))
        )

    return widened(net, formula, as_float(net, self))


@TABLE.converter(
    "aten.special_zeta.default", "aten.special_zeta.self_scalar", "aten.special_zeta.other_scalar"
)
def special_zeta(net: Net, self: Operand, other: Operand) -> Tensor:
    """zeta(self, other)."""
    s, q = net.promote(self, other, to_float=True)
    return net.cast(zeta(net, net.cast(s, torch.float32), net.cast(q, torch.float32)), s.dtype)
