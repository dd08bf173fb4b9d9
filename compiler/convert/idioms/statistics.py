"""Means and variances over dimensions, and tensors normalized with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compiler.convert.idioms.numeric import constant, maximum
from compiler.convert.idioms.reductions import Dims, reduced_axes
from compiler.convert.net import Net, Scalar
from compiler.network.network import Tensor


def moments(
    net: Net, x: Tensor, dim: Dims, correction: Scalar | None, keepdim: bool
) -> tuple[Tensor, Tensor]:
    """(variance, mean) of a float32 tensor; the variance divides by max(0, n - correction). Without elements, both
    are NaN."""
    axes = reduced_axes(x, dim)
    if not axes:
        lone = net.unsqueeze(x, [0])
        variance, _ = moments(net, lone, 0, correction, False)
        return variance, x
    mean = net.reduce(x, "AVG", axes, True)
    apart = net.sub(x, mean)
    squares = net.reduce(net.mul(apart, apart), "SUM", axes, keepdim)
    count = net.product([net.size(x, a) for a in axes])
    number, less = net.tensor(count, torch.float32), float(1 if correction is None else correction)
    free = net.sub(number, less)
    variance = net.div(squares, maximum(net, free, constant(net, 0, free)))
    if less < 0:
        variance = net.mul(variance, net.div(number, number))
    return variance, mean if keepdim else net.squeeze(mean, axes)


def mean_and_scale(net: Net, x: Tensor, axes: Sequence[int], eps: float) -> tuple[Tensor, Tensor]:
    """The mean and 1 / sqrt(biased variance + eps) over axes, which are kept with size one; float32."""
    wide = net.cast(x, torch.float32)
    mean = net.reduce(wide, "AVG", axes, True)
    off = net.sub(wide, mean)
    variance = net.reduce(net.mul(off, off), "AVG", axes, True)
    return mean, inverse_root(net, variance, eps)


def standardized(
    net: Net, x: Tensor, axes: Sequence[int], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """x in float32 with zero mean and unit variance over axes, followed by `mean_and_scale`."""
    mean, inverse = mean_and_scale(net, x, axes, eps)
    return net.mul(net.sub(net.cast(x, torch.float32), mean), inverse), mean, inverse


def inverse_root(net: Net, variance: Tensor, eps: float) -> Tensor:
    return net.unary(net.unary(net.add(variance, eps), "SQRT"), "RECIP")


def on_channels(
    net: Net, x: Tensor, scale: Tensor | None, shift: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """x * scale + shift, cast to dtype; x is float32 with its channels in dim 1."""
    outer = [0, *range(2, x.ndim)]
    if scale is not None:
        x = net.mul(x, net.unsqueeze(net.cast(scale, x.dtype), outer))
    if shift is not None:
        x = net.add(x, net.unsqueeze(net.cast(shift, x.dtype), outer))
    return net.cast(x, dtype)
