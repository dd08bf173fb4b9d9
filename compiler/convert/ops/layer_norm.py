"""Layer norm and root-mean-square norm: statistics over the last dims."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compiler.convert.idioms.statistics import inverse_root, mean_and_scale, standardized
from compiler.convert.net import Net
from compiler.convert.registry import FLOATS, Support, Table
from compiler.convert.short_sums import short_axis
from compiler.network.network import Size, Tensor

TABLE = Table("layer_norm")

SUPPORT = Support(dtypes=FLOATS)


@TABLE.converter("aten.layer_norm.default", support=SUPPORT)
def layer_norm(
    net: Net, input: Tensor, normalized_shape: Sequence[Size], weight: Tensor | None,
    bias: Tensor | None, eps: float, cudnn_enable: bool,
) -> Tensor:  # fmt: skip
    """Zero mean and unit variance over the last dims, then weight and bias of those dims' sizes."""
    return _layered(net, input, normalized_shape, weight, bias, eps)


@TABLE.converter("aten.native_layer_norm.default", support=SUPPORT)
def native_layer_norm(
    net: Net, input: Tensor, normalized_shape: Sequence[Size], weight: Tensor | None,
    bias: Tensor | None, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """`layer_norm`, the mean, and 1 / sqrt(variance + eps), both of size one in the last dims."""
    result = _layered(net, input, normalized_shape, weight, bias, eps)
    axes = range(input.ndim - len(normalized_shape), input.ndim)
    mean, inverse = mean_and_scale(net, input, list(axes), eps)
    # torch keeps them in float32, but its CPU kernels store them in the dtype of the weights
    kept = weight.dtype if weight is not None else input.dtype
    return result, net.cast(mean, kept), net.cast(inverse, kept)


def _layered(
    net: Net, input: Tensor, normalized_shape: Sequence[Size], weight: Tensor | None,
    bias: Tensor | None, eps: float,
) -> Tensor:  # fmt: skip
    lead = input.ndim - len(normalized_shape)
    scale = _fitted(net, weight, 1.0, input, normalized_shape)
    shift = _fitted(net, bias, 0.0, input, normalized_shape)
    axes = list(range(lead, input.ndim))
    if short_axis(input, axes) is None:
        return net.normalization(input, scale, shift, axes, eps)
    normal = standardized(net, input, axes, eps)[0]
    return net.cast(net.add(net.mul(normal, scale), shift), input.dtype)


def _fitted(
    net: Net, given: Tensor | None, default: float, x: Tensor, sizes: Sequence[Size]
) -> Tensor:
    """A scale or shift with the rank and dtype of x: leading dims of size one, then its own sizes."""
    if given is None:
        given = net.full(sizes, default, x.dtype)
    return net.unsqueeze(net.cast(given, x.dtype), range(x.ndim - len(sizes)))


@TABLE.converter("aten.rms_norm.default", support=SUPPORT)
def rms_norm(
    net: Net, input: Tensor, normalized_shape: Sequence[Size], weight: Tensor | None, eps: float | None
) -> Tensor:  # fmt: skip
    """input / sqrt(mean of squares + eps) over the last dims, in float32, times weight."""
    return _root_mean_square(net, input, normalized_shape, weight, eps)[0]


@TABLE.converter("aten._fused_rms_norm.default", support=SUPPORT)
def fused_rms_norm(
    net: Net, input: Tensor, normalized_shape: Sequence[Size], weight: Tensor | None, eps: float | None
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`rms_norm`, and 1 / sqrt(mean of squares + eps)."""
    return _root_mean_square(net, input, normalized_shape, weight, eps)


def _root_mean_square(
    net: Net, input: Tensor, normalized_shape: Sequence[Size], weight: Tensor | None, eps: float | None
) -> tuple[Tensor, Tensor]:  # fmt: skip
    wide = net.cast(input, torch.float32)
    axes = range(input.ndim - len(normalized_shape), input.ndim)
    squares = net.reduce(net.mul(wide, wide), "AVG", list(axes), True)
    inverse = inverse_root(net, squares, torch.finfo(input.dtype).eps if eps is None else eps)
    normal = net.cast(net.mul(wide, inverse), input.dtype)
    return normal if weight is None else net.mul(normal, weight), inverse
