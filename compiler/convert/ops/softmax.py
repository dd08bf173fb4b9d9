"""Softmax and its logarithm along a dimension."""

from __future__ import annotations

import torch

from compiler.convert.idioms.axes import axis_of
from compiler.convert.net import Net
from compiler.convert.registry import ANY, FLOATS, Support, Table
from compiler.network.network import Tensor

TABLE = Table("softmax")

SUPPORT = Support(dtypes=FLOATS)


@TABLE.converter("aten.softmax.int", support=Support(dtypes=ANY))
def softmax(net: Net, self: Tensor, dim: int, dtype: torch.dtype | None) -> Tensor:
    """exp(x) divided by its sum along dim; computed in dtype if given."""
    return _softmax(net, self if dtype is None else net.cast(self, dtype), dim)


@TABLE.converter("aten._softmax.default", support=SUPPORT)
def softmax_(net: Net, self: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """As `softmax`; half_to_float gives float32."""
    return _softmax(net, net.cast(self, torch.float32) if half_to_float else self, dim)


@TABLE.converter("aten.log_softmax.int", support=Support(dtypes=ANY))
def log_softmax(net: Net, self: Tensor, dim: int, dtype: torch.dtype | None) -> Tensor:
    """x minus the logarithm of the sum of exp(x) along dim; computed in dtype if given."""
    return _log_softmax(net, self if dtype is None else net.cast(self, dtype), dim)


@TABLE.converter("aten._log_softmax.default", support=SUPPORT)
def log_softmax_(net: Net, self: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """As `log_softmax`; half_to_float gives float32."""
    return _log_softmax(net, net.cast(self, torch.float32) if half_to_float else self, dim)


def _softmax(net: Net, x: Tensor, dim: int) -> Tensor:
    if x.ndim < 2:  # TensorRT's softmax needs two dimensions
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
