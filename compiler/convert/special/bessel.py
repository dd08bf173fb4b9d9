"""Bessel functions, elementwise in float32, by the approximations of Abramowitz and Stegun.

Formulas 9.4.1 to 9.4.6 and 9.8.1 to 9.8.8: each has a polynomial near zero and one in 1 / x beyond.
Their errors are about 2e-7. Coefficients are listed with the highest power first.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from compiler.convert.idioms.numeric import as_float, constant, less, polynomial, widened
from compiler.convert.net import Net
from compiler.convert.registry import Table
from compiler.network.network import Tensor

TABLE = Table("bessel")

_I0 = (0.0045813, 0.0360768, 0.2659732, 1.2067492, 3.0899424, 3.5156229, 1.0)
_I0_FAR = (0.00392377, -0.01647633, 0.02635537, -0.02057706, 0.00916281, -0.00157565, 0.00225319,
           0.01328592, 0.39894228)  # fmt: skip
_I1 = (0.00032411, 0.00301532, 0.02658733, 0.15084934, 0.51498869, 0.87890594, 0.5)
_I1_FAR = (-0.00420059, 0.01787654, -0.02895312, 0.02282967, -0.01031555, 0.00163801, -0.00362018,
           -0.03988024, 0.39894228)  # fmt: skip
_K0 = (0.00000740, 0.00010750, 0.00262698, 0.03488590, 0.23069756, 0.42278420, -0.57721566)
_K0_FAR = (0.00053208, -0.00251540, 0.00587872, -0.01062446, 0.02189568, -0.07832358, 1.25331414)
_K1 = (-0.00004686, -0.00110404, -0.01919402, -0.18156897, -0.67278579, 0.15443144, 1.0)
_K1_FAR = (-0.00068245, 0.00325614, -0.00780353, 0.01504268, -0.03655620, 0.23498619, 1.25331414)
_J0 = (0.0002100, -0.0039444, 0.0444479, -0.3163866, 1.2656208, -2.2499997, 1.0)
_Y0 = (-0.00024846, 0.00427916, -0.04261214, 0.25300117, -0.74350384, 0.60559366, 0.36746691)
_J1 = (0.00001109, -0.00031761, 0.00443319, -0.03954289, 0.21093573, -0.56249985, 0.5)
_Y1 = (0.0027873, -0.0400976, 0.3123951, -1.3164827, 2.1682709, 0.2212091, -0.6366198)
_SIZE0 = (0.00014476, -0.00072805, 0.00137237, -0.00009512, -0.00552740, -0.00000077, 0.79788456)
_ANGLE0 = (0.00013558, -0.00029333, -0.00054125, 0.00262573, -0.00003954, -0.04166397, -0.78539816)
_SIZE1 = (-0.00020033, 0.00113653, -0.00249511, 0.00017105, 0.01659667, 0.00000156, 0.79788456)
_ANGLE1 = (-0.00029166, 0.00079824, 0.00074348, -0.00637879, 0.00005650, 0.12499612, -2.35619449)


def _square_of(net: Net, x: Tensor, unit: float) -> Tensor:
    part = net.div(x, unit)
    return net.mul(part, part)


def _sign(net: Net, x: Tensor, size: Tensor) -> Tensor:
    """size with the sign of x."""
    return net.select(less(net, x, constant(net, 0, x)), net.unary(size, "NEG"), size)


# -- modified: I and K ---------------------------------------------------------------------


def _i(order: int, scaled: bool) -> Callable[[Net, Tensor], Tensor]:
    """I0 or I1; times exp(-|x|) if `scaled`."""

    def formula(net: Net, x: Tensor) -> Tensor:
        size = net.unary(x, "ABS")
        near = polynomial(net, _square_of(net, x, 3.75), _I1 if order else _I0)
        near = net.mul(near, x) if order else near
        far = polynomial(net, net.div(3.75, size), _I1_FAR if order else _I0_FAR)
        far = net.div(far, net.unary(size, "SQRT"))
        if scaled:
            near = net.mul(near, net.unary(net.unary(size, "NEG"), "EXP"))
        else:  # in two steps: exp(x) may overflow where I is finite
            half = net.unary(net.mul(size, 0.5), "EXP")
            far = net.mul(net.mul(far, half), half)
        far = _sign(net, x, far) if order else far
        return net.select(less(net, size, constant(net, 3.75, x)), near, far)

    return formula


def _k(order: int, scaled: bool) -> Callable[[Net, Tensor], Tensor]:
    """K0 or K1: infinite at 0, NaN below; times exp(x) if `scaled`."""
    other = _i(order, False)

    def formula(net: Net, x: Tensor) -> Tensor:
        square = _square_of(net, x, 2.0)
        log = net.mul(net.unary(net.mul(x, 0.5), "LOG"), other(net, x))
        series = polynomial(net, square, _K1 if order else _K0)
        near = net.add(log, net.div(series, x)) if order else net.sub(series, log)
        decay = net.unary(net.unary(x, "NEG"), "EXP")
        far = net.div(
            polynomial(net, net.div(2.0, x), _K1_FAR if order else _K0_FAR), net.unary(x, "SQRT")
        )
        if scaled:
            near = net.mul(near, net.unary(x, "EXP"))
        else:
            far = net.mul(far, decay)
        result = net.select(net.compare(x, 2.0, "GREATER"), far, near)
        return net.select(net.equal(x, 0.0), constant(net, math.inf, x), result)

    return formula


# -- J and Y -------------------------------------------------------------------------------


def _far(net: Net, x: Tensor, order: int, sine: bool) -> Tensor:
    """size / sqrt(x) times the cosine or sine of the angle, for x above 3."""
    t = net.div(3.0, x)
    size = net.div(polynomial(net, t, _SIZE1 if order else _SIZE0), net.unary(x, "SQRT"))
    angle = net.add(x, polynomial(net, t, _ANGLE1 if order else _ANGLE0))
    return net.mul(size, net.unary(angle, "SIN" if sine else "COS"))


def _j(order: int) -> Callable[[Net, Tensor], Tensor]:
    def formula(net: Net, x: Tensor) -> Tensor:
        size = net.unary(x, "ABS")
        near = polynomial(net, _square_of(net, x, 3.0), _J1 if order else _J0)
        near = net.mul(near, x) if order else near
        far = _far(net, size, order, False)
        far = _sign(net, x, far) if order else far
        return net.select(less(net, size, constant(net, 3.0, x)), near, far)

    return formula


def _y(order: int) -> Callable[[Net, Tensor], Tensor]:
    """Y0 or Y1: -infinity at 0, NaN below."""
    first = _j(order)

    def formula(net: Net, x: Tensor) -> Tensor:
        log = net.mul(net.mul(net.unary(net.mul(x, 0.5), "LOG"), first(net, x)), 2 / math.pi)
        series = polynomial(net, _square_of(net, x, 3.0), _Y1 if order else _Y0)
        near = net.add(log, net.div(series, x) if order else series)
        result = net.select(net.compare(x, 3.0, "GREATER"), _far(net, x, order, True), near)
        return net.select(net.equal(x, 0.0), constant(net, -math.inf, x), result)

    return formula


def _spherical_j0(net: Net, x: Tensor) -> Tensor:
    """sin(x) / x, 1 at 0 and 0 at infinity."""
    ratio = net.div(net.unary(x, "SIN"), x)
    ratio = net.select(net.equal(x, 0.0), constant(net, 1, x), ratio)
    return net.select(net.unary(x, "ISINF"), constant(net, 0, x), ratio)


FORMULAS: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "i0": _i(0, False), "special_i0": _i(0, False), "special_i0e": _i(0, True),
    "special_i1": _i(1, False), "special_i1e": _i(1, True),
    "special_modified_bessel_i0": _i(0, False), "special_modified_bessel_i1": _i(1, False),
    "special_modified_bessel_k0": _k(0, False), "special_modified_bessel_k1": _k(1, False),
    "special_bessel_j0": _j(0), "special_bessel_j1": _j(1),
    "special_bessel_y0": _y(0), "special_bessel_y1": _y(1),
}  # fmt: skip
FORMULAS_OF_X = {
    "special_scaled_modified_bessel_k0": _k(0, True),
    "special_scaled_modified_bessel_k1": _k(1, True),
    "special_spherical_bessel_j0": _spherical_j0,
}
"""Formulas whose schema names the argument x."""


def _applied(net: Net, function: Callable[[Net, Tensor], Tensor], value: Tensor) -> Tensor:
    return widened(net, lambda x: function(net, x), as_float(net, value))


def _of_self(function: Callable[[Net, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda net, self: _applied(net, function, self)


def _of_x(function: Callable[[Net, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda net, x: _applied(net, function, x)


for _name, _function in FORMULAS.items():
    TABLE.row(f"aten.{_name}.default", _of_self(_function))
for _name, _function in FORMULAS_OF_X.items():
    TABLE.row(f"aten.{_name}.default", _of_x(_function))
