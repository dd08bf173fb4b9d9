"""Reductions over dimensions as ATen gives them: sums, extremes that keep NaN, norms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from compiler.convert.idioms.numeric import as_float, constant, is_float, is_nan, negated, widened
from compiler.convert.net import Net, Scalar
from compiler.network.network import Tensor

Dims = int | Sequence[int] | None
"""None and an empty list mean all dimensions."""


def reduced_axes(x: Tensor, dim: Dims) -> list[int]:
    """The dimensions as non-negative axes; none if x is 0-dimensional."""
    if x.ndim == 0:
        return []
    dims = [dim] if isinstance(dim, int) else list(dim or range(x.ndim))
    return [d % x.ndim for d in dims]


def reduced(net: Net, x: Tensor, op: str, dim: Dims, keepdim: bool) -> Tensor:
    """x reduced over ATen's dimensions; a 0-dimensional x is returned unchanged.

    int32 is reduced in int64: TensorRT 10.6 reduces it in float32 (measured on an H200).
    """
    axes = reduced_axes(x, dim)
    if not axes:
        return x
    wide = net.cast(x, torch.int64) if x.dtype == torch.int32 else x
    return net.cast(net.reduce(wide, op, axes, keepdim), x.dtype)


def any_nan(net: Net, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    """Whether any of the elements that are reduced is NaN."""
    found = net.cast(is_nan(net, x), torch.int32)
    return net.bool_of(reduced(net, found, "MAX", dim, keepdim))


def extreme(net: Net, x: Tensor, op: str, dim: Dims, keepdim: bool) -> Tensor:
    """MAX or MIN; NaN where any element is NaN, which TensorRT's own reduction drops."""
    if x.dtype == torch.bool:
        result = reduced(net, net.cast(x, torch.int32), op, dim, keepdim)
        return net.cast(result, torch.bool)
    result = reduced(net, x, op, dim, keepdim)
    if not is_float(x) or x.ndim == 0:
        return result
    spoiled = any_nan(net, x, dim, keepdim)
    return net.select(spoiled, constant(net, math.nan, x), result)


def norm(net: Net, x: Tensor, p: Scalar | None, dim: Dims, keepdim: bool) -> Tensor:
    """The p-norm of a float32 tensor."""
    size = net.unary(x, "ABS")
    p = 2 if p is None else p
    if abs(p) == math.inf:
        return extreme(net, size, "MAX" if p > 0 else "MIN", dim, keepdim)
    if p == 0:
        nonzero = negated(net, net.equal(x, 0))
        return reduced(net, net.cast(nonzero, x.dtype), "SUM", dim, keepdim)
    if p == 1:
        return reduced(net, size, "SUM", dim, keepdim)
    if p == 2:
        return net.unary(reduced(net, net.mul(x, x), "SUM", dim, keepdim), "SQRT")
    powers = net.binary(size, float(p), "POW")
    return net.binary(reduced(net, powers, "SUM", dim, keepdim), 1.0 / p, "POW")


def log_sum_exp(net: Net, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    """log(sum(exp(x))) over dim, without overflow; integers become float32."""

    def formula(x: Tensor) -> Tensor:
        if x.ndim == 0:
            return x
        axes = reduced_axes(x, dim)
        high = net.reduce(x, "MAX", axes, True)
        # An infinite maximum must not be subtracted from itself.
        high = net.select(net.unary(high, "ISINF"), constant(net, 0, x), high)
        total = net.reduce(net.unary(net.sub(x, high), "EXP"), "SUM", axes, True)
        result = net.add(net.unary(total, "LOG"), high)
        return result if keepdim else net.squeeze(result, axes)

    return widened(net, formula, as_float(net, x))
