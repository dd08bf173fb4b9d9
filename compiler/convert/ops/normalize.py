"""Normalizations over statistics of the input or of training, and softmax."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compiler.convert.idioms.axes import axis_of
from compiler.convert.idioms.short_sums import short_axis
from compiler.convert.net import Net
from compiler.convert.ops.reduce import moments
from compiler.convert.registry import ANY, FLOATS, Support, Table
from compiler.network.network import Size, Tensor
from enginebundle.format.graph import Value

TABLE = Table("normalize")
SUPPORT = Support(dtypes=FLOATS)
Results = tuple[Tensor, Tensor, Tensor]

# -- layer and root-mean-square norm: over the last dims -----------------------------------


@TABLE.converter("aten.layer_norm.default", support=SUPPORT)
def layer_norm(
    net: Net, input: Tensor, normalized_shape: Sequence[Size], weight: Tensor | None,
    bias: Tensor | None, eps: float, cudnn_enable: bool,
) -> Tensor:  # fmt: skip
    """Zero mean and unit variance over the last dims, then weight and bias of their sizes."""
    return _layered(net, input, normalized_shape, weight, bias, eps)


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
    normal = _standardized(net, input, axes, eps)[0]
    return net.cast(net.add(net.mul(normal, scale), shift), input.dtype)


def _fitted(
    net: Net, given: Tensor | None, default: float, x: Tensor, sizes: Sequence[Size]
) -> Tensor:
    """A scale or shift with the rank and dtype of x, ones before its own sizes."""
    if given is None:
        given = net.full(sizes, default, x.dtype)
    return net.unsqueeze(net.cast(given, x.dtype), range(x.ndim - len(sizes)))


@TABLE.converter("aten.native_layer_norm.default", support=SUPPORT)
def native_layer_norm(
    net: Net, input: Tensor, normalized_shape: Sequence[Size], weight: Tensor | None,
    bias: Tensor | None, eps: float,
) -> Results:  # fmt: skip
    """`layer_norm` with the mean and 1 / sqrt(variance + eps), of size one in the last dims."""
    result = _layered(net, input, normalized_shape, weight, bias, eps)
    axes = range(input.ndim - len(normalized_shape), input.ndim)
    mean, inverse = _moments(net, input, list(axes), eps)
    # torch keeps them in float32, except that the CPU stores them in the type of the weights
    kept = weight.dtype if weight is not None else input.dtype
    return result, net.cast(mean, kept), net.cast(inverse, kept)


def _moments(net: Net, x: Tensor, axes: Sequence[int], eps: float) -> tuple[Tensor, Tensor]:
    """Mean and 1 / sqrt(biased variance + eps) over axes, kept as ones, in float32."""
    wide = net.cast(x, torch.float32)
    mean = net.reduce(wide, "AVG", axes, True)
    off = net.sub(wide, mean)
    variance = net.reduce(net.mul(off, off), "AVG", axes, True)
    return mean, _inverse_root(net, variance, eps)


def _standardized(net: Net, x: Tensor, axes: Sequence[int], eps: float) -> Results:
    """x in float32 with zero mean and unit variance over axes, and `_moments`."""
    mean, inverse = _moments(net, x, axes, eps)
    return net.mul(net.sub(net.cast(x, torch.float32), mean), inverse), mean, inverse


def _inverse_root(net: Net, variance: Tensor, eps: float) -> Tensor:
    return net.unary(net.unary(net.add(variance, eps), "SQRT"), "RECIP")


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
    inverse = _inverse_root(net, squares, torch.finfo(input.dtype).eps if eps is None else eps)
    normal = net.cast(net.mul(wide, inverse), input.dtype)
    return normal if weight is None else net.mul(normal, weight), inverse


# -- group and instance norm: over channels of a group and space ---------------------------


@TABLE.converter("aten.group_norm.default", support=SUPPORT)
def group_norm(
    net: Net, input: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None,
    eps: float, cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """input [n, c, *spatial]: statistics of each group of channels, then weight and bias [c]."""
    return _grouped(net, input, num_groups, weight, bias, eps)


def _grouped(
    net: Net, x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Written with reductions: TensorRT's own layer takes groups in rank 4 and 5 only."""
    parts, sizes = _in_groups(net, x, groups)
    normal = _standardized(net, parts, [2], eps)[0]
    return _affine(net, net.reshape(normal, sizes), weight, bias, x.dtype)


def _in_groups(net: Net, x: Tensor, groups: int) -> tuple[Tensor, list[Size]]:
    """x as [n, groups, the rest], and its sizes."""
    sizes = net.sizes(x)
    rest = net.size_op("floordiv", net.product(sizes[1:]), groups)
    return net.reshape(x, [sizes[0], groups, rest]), sizes


def _affine(
    net: Net, x: Tensor, scale: Tensor | None, shift: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """x (float32, channels in dim 1) times scale plus shift, as dtype."""
    outer = [0, *range(2, x.ndim)]
    if scale is not None:
        x = net.mul(x, net.unsqueeze(net.cast(scale, x.dtype), outer))
    if shift is not None:
        x = net.add(x, net.unsqueeze(net.cast(shift, x.dtype), outer))
    return net.cast(x, dtype)


@TABLE.converter("aten.native_group_norm.default", support=SUPPORT)
def native_group_norm(
    net: Net, input: Tensor, weight: Tensor | None, bias: Tensor | None, N: Size, C: Size,
    HxW: Size, group: int, eps: float,
) -> Results:  # fmt: skip
    """`group_norm` with the mean and 1 / sqrt(variance + eps) of each group, [n, group]."""
    result = _grouped(net, input, group, weight, bias, eps)
    mean, inverse = _moments(net, _in_groups(net, input, group)[0], [2], eps)
    kept = weight.dtype if weight is not None else input.dtype
    mean, inverse = (net.cast(net.squeeze(t, [2]), kept) for t in (mean, inverse))
    return result, mean, inverse


def _stats_check(running_mean: Value | None, use_input_stats: bool) -> str | None:
    if not use_input_stats and running_mean is None:
        return "expected running statistics, or use_input_stats=True"
    return None


@TABLE.converter("aten.instance_norm.default", support=SUPPORT, check=_stats_check)
def instance_norm(
    net: Net, input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, use_input_stats: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """input [n, c, *spatial]: statistics of each channel of each sample, or the stored ones."""
    if not use_input_stats and running_mean is not None and running_var is not None:
        return _stored(net, input, weight, bias, running_mean, running_var, eps)
    normal = _standardized(net, input, range(2, input.ndim), eps)[0]
    return _affine(net, normal, weight, bias, input.dtype)


# -- batch norm ----------------------------------------------------------------------------


def _stored(
    net: Net, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor,
    eps: float,
) -> Tensor:  # fmt: skip
    """One scale and shift a channel, computed in float32 (when converting, if all are constants)."""
    scale = _inverse_root(net, net.cast(variance, torch.float32), eps)
    if weight is not None:
        scale = net.mul(scale, net.cast(weight, torch.float32))
    shift = net.mul(net.sub(0.0, net.cast(mean, torch.float32)), scale)
    if bias is not None:
        shift = net.add(shift, net.cast(bias, torch.float32))
    outer = [0, *range(2, x.ndim)]
    factors = [net.unsqueeze(net.cast(t, x.dtype), outer) for t in (scale, shift)]
    return net.add(net.mul(x, factors[0]), factors[1])


def _own(net: Net, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Results:
    """Normalized by the batch's own statistics, with its mean and 1 / sqrt(variance + eps)."""
    axes = [0, *range(2, x.ndim)]
    normal, mean, inverse = _standardized(net, x, axes, eps)
    flat = [net.reshape(t, [net.size(x, 1)]) for t in (mean, inverse)]
    return _affine(net, normal, weight, bias, x.dtype), flat[0], flat[1]


def _training_check(training: bool, running_mean: Value | None) -> str | None:
    if training and running_mean is not None:
        return "training updates the running statistics; export the model after model.eval()"
    if not training and running_mean is None:
        return "expected running statistics in evaluation mode"
    return None


@TABLE.converter("aten.batch_norm.default", support=SUPPORT, check=_training_check)
def batch_norm(
    net: Net, input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, training: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """input [n, c, *spatial] by the stored statistics of each channel, or by its own without any."""
    if running_mean is None or running_var is None:
        return _own(net, input, weight, bias, eps)[0]
    return _stored(net, input, weight, bias, running_mean, running_var, eps)


@TABLE.converter("aten._native_batch_norm_legit_no_training.default", support=SUPPORT)
def batch_norm_stored(
    net: Net, input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor,
    running_var: Tensor, momentum: float, eps: float,
) -> Results:  # fmt: skip
    """`batch_norm` in evaluation mode; torch returns two empty tensors beside the result."""
    empty = net.constant(
        torch.empty(0, dtype=torch.float32 if input.dtype != torch.float32 else input.dtype)
    )
    return _stored(net, input, weight, bias, running_mean, running_var, eps), empty, empty


@TABLE.converter(
    "aten._native_batch_norm_legit.no_stats", support=SUPPORT,
    check=lambda training: None if training else "expected running statistics in evaluation mode",
)  # fmt: skip
def batch_norm_own(
    net: Net, input: Tensor, weight: Tensor | None, bias: Tensor | None, training: bool,
    momentum: float, eps: float,
) -> Results:  # fmt: skip
    """By the batch's own statistics, which follow the result."""
    return _own(net, input, weight, bias, eps)


@TABLE.converter("aten._native_batch_norm_legit_functional.default", support=SUPPORT)
def batch_norm_functional(
    net: Net, input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor,
    running_var: Tensor, training: bool, momentum: float, eps: float,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The result, the batch's mean and 1 / sqrt(variance + eps), and the statistics as they go on.

    In evaluation mode the second and third are for training only, and empty.
    """
    if not training:
        result = _stored(net, input, weight, bias, running_mean, running_var, eps)
        none = net.constant(torch.empty(0))
        return result, none, none, running_mean, running_var
    result, mean, inverse = _own(net, input, weight, bias, eps)
    variance, _ = moments(net, net.cast(input, torch.float32), [0, *range(2, input.ndim)], 1, False)
    went_on = [
        net.add(net.mul(net.cast(old, torch.float32), 1 - momentum), net.mul(new, momentum))
        for old, new in ((running_mean, mean), (running_var, variance))
    ]
    return result, mean, inverse, *(net.cast(t, running_mean.dtype) for t in went_on)


# -- softmax -------------------------------------------------------------------------------


@TABLE.converter("aten.softmax.int", support=Support(dtypes=ANY))
def softmax(net: Net, self: Tensor, dim: int, dtype: torch.dtype | None) -> Tensor:
    """exp(x) over its sum along dim, computed in dtype if given."""
    return _softmax(net, self if dtype is None else net.cast(self, dtype), dim)


@TABLE.converter("aten._softmax.default", support=SUPPORT)
def softmax_(net: Net, self: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """As `softmax`; half_to_float gives float32."""
    return _softmax(net, net.cast(self, torch.float32) if half_to_float else self, dim)


@TABLE.converter("aten.log_softmax.int", support=Support(dtypes=ANY))
def log_softmax(net: Net, self: Tensor, dim: int, dtype: torch.dtype | None) -> Tensor:
    """x less the logarithm of the sum of exp(x) along dim, computed in dtype if given."""
    return _log_softmax(net, self if dtype is None else net.cast(self, dtype), dim)


@TABLE.converter("aten._log_softmax.default", support=SUPPORT)
def log_softmax_(net: Net, self: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """As `log_softmax`; half_to_float gives float32."""
    return _log_softmax(net, net.cast(self, torch.float32) if half_to_float else self, dim)


def _softmax(net: Net, x: Tensor, dim: int) -> Tensor:
    if x.ndim < 2:  # TensorRT's softmax wants two dimensions
        sizes = net.sizes(x)
        return net.reshape(net.softmax(net.reshape(x, [1, -1]), 1), sizes)
    return net.softmax(x, axis_of(dim, x.ndim))


def _log_softmax(net: Net, x: Tensor, dim: int) -> Tensor:
    if x.ndim == 0:
        return net.reshape(_log_softmax(net, net.reshape(x, [1]), 0), [])
    axis = [axis_of(dim, x.ndim)]
    wide = net.cast(x, torch.float32)
    low = net.sub(wide, net.reduce(wide, "MAX", axis, True))
    total = net.reduce(net.unary(low, "EXP"), "SUM", axis, True)
    return net.cast(net.sub(low, net.unary(total, "LOG")), x.dtype)
