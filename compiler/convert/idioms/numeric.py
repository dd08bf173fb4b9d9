"""Elementwise arithmetic that treats NaN as torch does, and half precision computed in float32.

TensorRT's MAX, MIN and CLIP and its MAX and MIN reductions drop NaN (which operand wins depends on
the type), and its SIGN returns NaN for NaN where torch returns 0. Comparisons and selections are
exact, so these decide the order.
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
    """x, with integers and bools cast to float32, as torch's float functions do."""
    return x if is_float(x) else net.cast(x, torch.float32)


def widened(net: Net, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """`function(*tensors)`, computed in float32 if the tensors have half precision.

    The result is rounded once, as in torch, instead of once per layer. All tensors have one dtype; a
    bool result stays bool.
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
    """The larger of two tensors of one dtype; NaN where either is NaN."""
    return _extreme(net, a, b, "MAX", "GREATER", "OR")


def minimum(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """The smaller of two tensors of one dtype; NaN where either is NaN."""
    return _extreme(net, a, b, "MIN", "LESS", "AND")


def _extreme(net: Net, a: Tensor, b: Tensor, op: str, order: str, of_bools: str) -> Tensor:
    if a.dtype == torch.bool:
        return net.elementwise(a, b, of_bools)
    if not is_float(a):
        return net.elementwise(a, b, op)
    if b.constant is not None and not bool(b.constant.isnan().any()):
        # A NaN in a fails the comparison with b, so it stays.
        opposite = "LESS" if order == "GREATER" else "GREATER"
        return net.select(net.elementwise(a, b, opposite), b, a)
    first = net.elementwise(net.elementwise(a, b, order), is_nan(net, a), "OR")
    return net.select(first, a, b)


def clamp(net: Net, x: Tensor, low: Scalar | None, high: Scalar | None) -> Tensor:
    """x clamped between two numbers; NaN stays NaN."""
    if low is not None:
        x = maximum(net, x, constant(net, low, x))
    if high is not None:
        x = minimum(net, x, constant(net, high, x))
    return x


def sign_bit(net: Net, x: Tensor) -> Tensor:
    """Where x is negative, including -0.0; NaN counts as positive."""
    zero = constant(net, 0, x)
    negative = less(net, x, zero)
    if not is_float(x):
        return negative
    return net.elementwise(negative, less(net, net.unary(x, "RECIP"), zero), "OR")


def floor_quotient(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """floor(a / b) of integers of one dtype.

    TensorRT 10.6 computes FLOOR_DIV of integers in float32, so a large quotient is off; its DIV, which
    rounds towards zero, is exact. Both measured on an H200.
    """
    quotient = net.elementwise(a, b, "DIV")
    rest = net.sub(a, net.mul(quotient, b))
    below = less(net, rest, constant(net, 0, rest))
    if b.constant is None or not bool((b.constant > 0).all()):
        differs = net.elementwise(below, less(net, b, constant(net, 0, b)), "XOR")
        below = net.elementwise(differs, negated(net, net.equal(rest, 0)), "AND")
    return net.select(below, net.sub(quotient, 1), quotient)


def truncate(net: Net, x: Tensor) -> Tensor:
    """x rounded towards zero; -0.0 is kept."""
    if not is_float(x):
        return x
    negative = less(net, x, constant(net, 0, x))
    return net.select(negative, net.unary(x, "CEIL"), net.unary(x, "FLOOR"))


def polynomial(net: Net, x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """A polynomial of x by Horner's rule; the coefficient of the highest power comes first."""
    result = constant(net, coefficients[0], x)
    for coefficient in coefficients[1:]:
        result = net.add(net.mul(result, x), coefficient)
    return result


def log1p(net: Net, x: Tensor) -> Tensor:
    """log(1 + x) of a float32 tensor, accurate near 0.

    With u = 1 + x, rounded, log(u) * x / (u - 1) corrects for the rounding.
    """
    u = net.add(x, 1.0)
    log = net.unary(u, "LOG")
    near = net.mul(log, net.div(x, net.sub(u, 1.0)))
    near = net.select(net.equal(u, 1.0), x, near)
    far = greater(net, net.unary(x, "ABS"), constant(net, 0.5, x))
    return net.select(far, log, near)


def expm1(net: Net, x: Tensor) -> Tensor:
    """exp(x) - 1 of a float32 tensor, accurate near 0, with the same correction as `log1p`."""
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
    # The difference of equal infinities is NaN.
    return net.select(net.equal(a, b), net.add(a, math.log(2.0)), sum_)
