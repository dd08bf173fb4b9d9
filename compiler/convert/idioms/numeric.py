"""Idioms that several operator families share: NaN-exact selection, and half precision done wide.

TensorRT's MAX, MIN, CLIP and its MAX/MIN reductions drop NaN (which operand wins depends on the
type), and its SIGN keeps NaN where torch says 0. Comparisons and selections are exact, so order
is decided with those.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from compiler.convert.net import Net, Scalar
from compiler.network.network import Tensor
from compiler.network.recorder import FLOATS

HALVES = frozenset({torch.float16, torch.bfloat16})


def is_float(x: Tensor) -> bool:
    """Whether x holds floating point numbers."""
    return x.dtype in FLOATS


def as_float(net: Net, x: Tensor) -> Tensor:
    """x, with integers and bools as float32, as torch's float functions take them."""
    return x if is_float(x) else net.cast(x, torch.float32)


def widened(net: Net, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """`function(*tensors)` computed in float32 where the tensors are of half precision.

    The result is rounded once, as torch does it, instead of once a layer. All tensors have one
    dtype; a bool result stays bool.
    """
    dtype = tensors[0].dtype
    if dtype not in HALVES:
        return function(*tensors)
    result = function(*(net.cast(t, torch.float32) for t in tensors))
    return net.cast(result, dtype) if result.dtype == torch.float32 else result


def constant(net: Net, value: Scalar, like: Tensor) -> Tensor:
    """A 0-dimensional constant of the dtype of `like`."""
    return net.scalar(value, like.dtype)


def negated(net: Net, x: Tensor) -> Tensor:
    """NOT of a bool tensor."""
    return net.unary(x, "NOT")


def is_nan(net: Net, x: Tensor) -> Tensor:
    """Where x is NaN."""
    return net.unary(x, "ISNAN")


def less(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """a < b on one dtype; False where either is NaN."""
    return net.elementwise(a, b, "LESS")


def greater(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """a > b on one dtype; False where either is NaN."""
    return net.elementwise(a, b, "GREATER")


def less_equal(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """a <= b on one dtype; False where either is NaN."""
    if not is_float(a):
        return negated(net, greater(net, a, b))
    return net.elementwise(less(net, a, b), net.elementwise(a, b, "EQUAL"), "OR")


def greater_equal(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """a >= b on one dtype; False where either is NaN."""
    return less_equal(net, b, a)


def maximum(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """The larger of two tensors of one dtype; NaN if either is."""
    return _extreme(net, a, b, "MAX", "GREATER", "OR")


def minimum(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """The smaller of two tensors of one dtype; NaN if either is."""
    return _extreme(net, a, b, "MIN", "LESS", "AND")


def _extreme(net: Net, a: Tensor, b: Tensor, op: str, order: str, of_bools: str) -> Tensor:
    if a.dtype == torch.bool:
        return net.elementwise(a, b, of_bools)
    if not is_float(a):
        return net.elementwise(a, b, op)
    if b.constant is not None and not bool(b.constant.isnan().any()):
        # A NaN in a loses every comparison with b and stays.
        opposite = "LESS" if order == "GREATER" else "GREATER"
        return net.select(net.elementwise(a, b, opposite), b, a)
    first = net.elementwise(net.elementwise(a, b, order), is_nan(net, a), "OR")
    return net.select(first, a, b)


def clamp(net: Net, x: Tensor, low: Scalar | None, high: Scalar | None) -> Tensor:
    """x held within numbers; NaN stays."""
    if low is not None:
        x = maximum(net, x, constant(net, low, x))
    if high is not None:
        x = minimum(net, x, constant(net, high, x))
    return x


def sign_bit(net: Net, x: Tensor) -> Tensor:
    """Where x is negative, -0.0 included; a NaN counts as positive."""
    zero = constant(net, 0, x)
    negative = less(net, x, zero)
    if not is_float(x):
        return negative
    return net.elementwise(negative, less(net, net.unary(x, "RECIP"), zero), "OR")


def truncate(net: Net, x: Tensor) -> Tensor:
    """x rounded towards zero, -0.0 kept."""
    if not is_float(x):
        return x
    negative = less(net, x, constant(net, 0, x))
    return net.select(negative, net.unary(x, "CEIL"), net.unary(x, "FLOOR"))


def polynomial(net: Net, x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """By Horner's rule; the coefficient of the highest power comes first."""
    result = constant(net, coefficients[0], x)
    for coefficient in coefficients[1:]:
        result = net.add(net.mul(result, x), coefficient)
    return result


def log1p(net: Net, x: Tensor) -> Tensor:
    """log(1 + x) of a float32 tensor, accurate near 0.

    With u = 1 + x rounded, log(u) * x / (u - 1) corrects for the rounding.
    """
    u = net.add(x, 1.0)
    log = net.unary(u, "LOG")
    near = net.mul(log, net.div(x, net.sub(u, 1.0)))
    near = net.select(net.equal(u, 1.0), x, near)
    far = greater(net, net.unary(x, "ABS"), constant(net, 0.5, x))
    return net.select(far, log, near)


def expm1(net: Net, x: Tensor) -> Tensor:
    """exp(x) - 1 of a float32 tensor, accurate near 0; the same correction as `log1p`."""
    u = net.unary(x, "EXP")
    rest = net.sub(u, 1.0)
    near = net.mul(rest, net.div(x, net.unary(u, "LOG")))
    near = net.select(net.equal(u, 1.0), x, near)
    far = greater(net, net.unary(x, "ABS"), constant(net, 0.5, x))
    return net.select(far, rest, near)


def log_add_exp(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """log(exp(a) + exp(b)) of float32 tensors, without overflow."""
    high, low = maximum(net, a, b), minimum(net, a, b)
    sum_ = net.add(high, log1p(net, net.unary(net.sub(low, high), "EXP")))
    # Equal infinities have no difference.
    return net.select(net.equal(a, b), net.add(a, math.log(2.0)), sum_)
