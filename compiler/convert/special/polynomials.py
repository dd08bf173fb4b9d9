"""Orthogonal polynomials p(x) of degrees that are data, elementwise in float32, by their recurrences.

Every element goes through all degrees up to LIMIT and keeps its own. Above LIMIT the result is NaN,
except for Chebyshev polynomials between -1 and 1, which have a closed form. Degrees are truncated to
whole numbers; below 0 the result is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from compiler.convert.idioms.numeric import constant, greater, less, truncate
from compiler.convert.net import Net, Operand
from compiler.convert.registry import Table
from compiler.network.network import Tensor

TABLE = Table("polynomials")

LIMIT = 24
"""The highest degree."""

Step = Callable[[Net, Tensor, Tensor, Tensor, int], Tensor]
"""(net, x, p of degree k, p of degree k - 1, k) -> p of degree k + 1."""


@dataclass(frozen=True)
class Family:
    """`first` is the polynomial of degree 1, `step` gives later ones, `closed` any degree in (-1, 1)."""

    first: Callable[[Net, Tensor], Tensor]
    step: Step
    closed: Callable[[Net, Tensor, Tensor], Tensor] | None = None


def _chebyshev(net: Net, x: Tensor, p: Tensor, before: Tensor, k: int) -> Tensor:
    return net.sub(net.mul(net.mul(x, 2.0), p), before)


def _hermite_h(net: Net, x: Tensor, p: Tensor, before: Tensor, k: int) -> Tensor:
    return net.sub(net.mul(net.mul(x, 2.0), p), net.mul(before, 2.0 * k))


def _hermite_he(net: Net, x: Tensor, p: Tensor, before: Tensor, k: int) -> Tensor:
    return net.sub(net.mul(x, p), net.mul(before, float(k)))


def _laguerre(net: Net, x: Tensor, p: Tensor, before: Tensor, k: int) -> Tensor:
    both = net.sub(net.mul(net.sub(2.0 * k + 1, x), p), net.mul(before, float(k)))
    return net.div(both, k + 1.0)


def _legendre(net: Net, x: Tensor, p: Tensor, before: Tensor, k: int) -> Tensor:
    both = net.sub(net.mul(net.mul(x, 2.0 * k + 1), p), net.mul(before, float(k)))
    return net.div(both, k + 1.0)


def _line(a: float, b: float) -> Callable[[Net, Tensor], Tensor]:
    """a x + b."""
    return lambda net, x: net.add(net.mul(x, a), b)


def _angle(net: Net, x: Tensor, degree: Tensor, more: float, op: str) -> Tensor:
    """cos or sin of (degree + more) acos(x)."""
    return net.unary(net.mul(net.add(degree, more), net.unary(x, "ACOS")), op)


def _half(net: Net, x: Tensor, op: str) -> Tensor:
    return net.unary(net.mul(net.unary(x, "ACOS"), 0.5), op)


FAMILIES: dict[str, Family] = {
    "chebyshev_polynomial_t": Family(
        _line(1, 0), _chebyshev, lambda net, x, n: _angle(net, x, n, 0, "COS")
    ),
    "chebyshev_polynomial_u": Family(
        _line(2, 0), _chebyshev,
        lambda net, x, n: net.div(_angle(net, x, n, 1, "SIN"), net.unary(net.unary(x, "ACOS"), "SIN")),
    ),
    "chebyshev_polynomial_v": Family(
        _line(2, -1), _chebyshev, lambda net, x, n: net.div(_angle(net, x, n, 0.5, "COS"), _half(net, x, "COS"))
    ),
    "chebyshev_polynomial_w": Family(
        _line(2, 1), _chebyshev, lambda net, x, n: net.div(_angle(net, x, n, 0.5, "SIN"), _half(net, x, "SIN"))
    ),
    "hermite_polynomial_h": Family(_line(2, 0), _hermite_h),
    "hermite_polynomial_he": Family(_line(1, 0), _hermite_he),
    "laguerre_polynomial_l": Family(_line(-1, 1), _laguerre),
    "legendre_polynomial_p": Family(_line(1, 0), _legendre),
}  # fmt: skip


def _evaluated(net: Net, family: Family, x: Tensor, degree: Tensor) -> Tensor:
    degree = truncate(net, degree)
    zero, one, nan = (constant(net, value, x) for value in (0, 1, math.nan))
    before, p = one, family.first(net, x)
    result = net.select(net.equal(degree, 0.0), one, net.select(net.equal(degree, 1.0), p, nan))
    for k in range(1, LIMIT):
        before, p = p, family.step(net, x, p, before, k)
        result = net.select(net.equal(degree, k + 1.0), p, result)
    if family.closed is not None:
        high = greater(net, degree, constant(net, 8, degree))
        inside = less(net, net.unary(x, "ABS"), one)
        closed = family.closed(net, x, degree)
        result = net.select(net.elementwise(high, inside, "AND"), closed, result)
    return net.select(less(net, degree, constant(net, 0, degree)), zero, result)


def _converter(family: Family, shifted: bool) -> Callable[..., Tensor]:
    def convert(net: Net, x: Operand, n: Operand) -> Tensor:
        values, degree = net.promote(x, n, to_float=True)
        dtype = values.dtype
        values, degree = (net.cast(t, torch.float32) for t in (values, degree))
        if shifted:
            values = net.sub(net.mul(values, 2.0), 1.0)
        return net.cast(_evaluated(net, family, values, degree), dtype)

    return convert


for _name, _family in FAMILIES.items():
    for _prefix in ("", "shifted_") if _family.closed is not None else ("",):
        for _which in ("default", "n_scalar", "x_scalar"):
            _op = f"aten.special_{_prefix}{_name}.{_which}"
            TABLE.row(_op, _converter(_family, bool(_prefix)))
