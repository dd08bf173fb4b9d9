"""Batch norm and instance norm: statistics of each channel, stored or the input's own."""

from __future__ import annotations

import torch

from compiler.convert.idioms.statistics import inverse_root, moments, on_channels, standardized
from compiler.convert.net import Net
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("batch_norm")

SUPPORT = Support(dtypes=FLOATS)


def _training_check(training: bool, running_mean: Value | None) -> str | None:
    if training and running_mean is not None:
        return (
            "expected evaluation mode, got training, which updates the running statistics; "
            "export the model after model.eval()"
        )
    if not training and running_mean is None:
        return "expected running statistics in evaluation mode, got none"
    return None


def _channels_check(input: Value, running_mean: Value) -> str | None:
    if running_mean.shape != (input.shape[1],):
        return f"expected a mean for each of {input.shape[1]} channels, got {running_mean.shape}"
    return None


@TABLE.converter("aten.batch_norm.default", support=SUPPORT, check=_training_check)
def batch_norm(
    net: Net, input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, training: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """input [n, c, *spatial], normalized by each channel's stored statistics, or its own if there are none."""
    if running_mean is None or running_var is None:
        return _own(net, input, weight, bias, eps)[0]
    return _stored(net, input, weight, bias, running_mean, running_var, eps)


@TABLE.converter(
    "aten._native_batch_norm_legit_no_training.default", support=SUPPORT, check=_channels_check
)
def batch_norm_stored(
    net: Net, input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor,
    running_var: Tensor, momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """`batch_norm` in evaluation mode; torch returns two empty tensors beside the result."""
    empty = net.constant(
        torch.empty(0, dtype=torch.float32 if input.dtype != torch.float32 else input.dtype)
    )
    return _stored(net, input, weight, bias, running_mean, running_var, eps), empty, empty


@TABLE.converter(
    "aten._native_batch_norm_legit.no_stats", support=SUPPORT,
    check=lambda training: None if training else "expected running statistics in evaluation mode, got none",
)  # fmt: skip
def batch_norm_own(
    net: Net, input: Tensor, weight: Tensor | None, bias: Tensor | None, training: bool,
    momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The result by the batch's own statistics, and these statistics."""
    return _own(net, input, weight, bias, eps)


@TABLE.converter(
    "aten._native_batch_norm_legit_functional.default", support=SUPPORT, check=_channels_check
)
def batch_norm_functional(
    net: Net, input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor,
    running_var: Tensor, training: bool, momentum: float, eps: float,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The result, the batch's mean and 1 / sqrt(variance + eps), and the updated running statistics.

    In evaluation mode the second and third result, which serve training only, are empty.
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


def _stats_check(running_mean: Value | None, use_input_stats: bool) -> str | None:
    if not use_input_stats and running_mean is None:
        return "expected running statistics or use_input_stats=True, got neither"
    return None


@TABLE.converter("aten.instance_norm.default", support=SUPPORT, check=_stats_check)
def instance_norm(
    net: Net, input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, use_input_stats: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """input [n, c, *spatial], normalized by the statistics of each sample's channel, or the stored ones."""
    if not use_input_stats and running_mean is not None and running_var is not None:
        return _stored(net, input, weight, bias, running_mean, running_var, eps)
    normal = standardized(net, input, range(2, input.ndim), eps)[0]
    return on_channels(net, normal, weight, bias, input.dtype)


def _stored(
    net: Net, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor,
    eps: float,
) -> Tensor:  # fmt: skip
    """One scale and shift per channel, in float32; computed when converting if all are constants."""
    scale = inverse_root(net, net.cast(variance, torch.float32), eps)
    if weight is not None:
        scale = net.mul(scale, net.cast(weight, torch.float32))
    shift = net.mul(net.sub(0.0, net.cast(mean, torch.float32)), scale)
    if bias is not None:
        shift = net.add(shift, net.cast(bias, torch.float32))
    outer = [0, *range(2, x.ndim)]
    factors = [net.unsqueeze(net.cast(t, x.dtype), outer) for t in (scale, shift)]
    return net.add(net.mul(x, factors[0]), factors[1])


def _own(
    net: Net, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalized by the batch's own statistics, with its mean and 1 / sqrt(variance + eps)."""
    axes = [0, *range(2, x.ndim)]
    normal, mean, inverse = standardized(net, x, axes, eps)
    flat = [net.reshape(t, [net.size(x, 1)]) for t in (mean, inverse)]
    return on_channels(net, normal, weight, bias, x.dtype), flat[0], flat[1]
