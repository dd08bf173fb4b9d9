"""Elements written or reduced at positions, each at its own."""

from __future__ import annotations

import math

import torch

from compiler.convert.idioms.accumulate import too_large
from compiler.convert.idioms.axes import axis_of, together
from compiler.convert.idioms.positions import size_tensor, wrap_index
from compiler.convert.idioms.scatter import accumulated, written
from compiler.convert.net import Net, Scalar
from compiler.convert.registry import ANY, Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("scatter")
REDUCIBLE = Support(dtypes=ANY)


@TABLE.converter("aten.scatter.src")
def scatter(net: Net, self: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """src written at index along dim; index may be shorter than self and src."""
    return written(net, self, axis_of(dim, self.ndim), index, src)


@TABLE.converter("aten.scatter.value")
def scatter_value(net: Net, self: Tensor, dim: int, index: Tensor, value: Scalar) -> Tensor:
    """A number written at index along dim."""
    values = net.full(net.sizes(index), value, self.dtype)
    return written(net, self, axis_of(dim, self.ndim), index, values)


def _reduce_check(self: Value, dim: int, index: Value) -> str | None:
    places = self.shape[axis_of(dim, len(self.shape))] if self.shape else 1
    return too_large(index.shape, places)


@TABLE.converter("aten.scatter_add.default", support=REDUCIBLE, check=_reduce_check)
def scatter_add(net: Net, self: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """src added at index along dim."""
    return accumulated(net, self, dim, index, src, "sum", True)


@TABLE.converter("aten.scatter_reduce.two", support=REDUCIBLE, check=_reduce_check)
def scatter_reduce(
    net: Net, self: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, include_self: bool
) -> Tensor:
    """src reduced at index along dim by sum, prod, mean, amax or amin."""
    return accumulated(net, self, dim, index, src, reduce, include_self)


@TABLE.converter("aten.scatter.reduce", support=REDUCIBLE, check=_reduce_check)
def scatter_with(
    net: Net, self: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str
) -> Tensor:
    """src added or multiplied at index along dim."""
    return accumulated(net, self, dim, index, src, reduce, True)


@TABLE.converter("aten.scatter.value_reduce", support=REDUCIBLE, check=_reduce_check)
def scatter_value_with(
    net: Net, self: Tensor, dim: int, index: Tensor, value: Scalar, reduce: str
) -> Tensor:
    """A number added or multiplied at index along dim."""
    values = net.full(net.sizes(index), value, self.dtype)
    return accumulated(net, self, dim, index, values, reduce, True)


def _put_check(self: Value, source: Value, accumulate: bool) -> str | None:
    if not accumulate:
        return None
    places = [n for n in self.shape if isinstance(n, int)]
    return too_large(source.shape, math.prod(places) if len(places) == len(self.shape) else "n")


@TABLE.converter("aten.put.default", support=REDUCIBLE, check=_put_check)
def put(net: Net, self: Tensor, index: Tensor, source: Tensor, accumulate: bool) -> Tensor:
    """source written (or added) at positions of the flattened tensor; negative ones count from its end."""
    flat = net.reshape(self, [-1])
    places = wrap_index(net, net.reshape(index, [-1]), net.size(flat, 0))
    values = net.reshape(source, [-1])
    if accumulate:
        result = accumulated(net, flat, 0, places, values, "sum", True)
    else:
        result = written(net, flat, 0, places, values)
    return net.reshape(result, net.sizes(self))


@TABLE.converter("aten.masked_scatter.default")
def masked_scatter(net: Net, self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The elements of source, in order, where mask is True; a running count of the mask gives their places."""
    self, mask = together(net, self, mask)
    sizes = net.sizes(self)
    flat = net.reshape(mask, [-1])
    running = net.sub(net.cumulative(net.cast(flat, torch.int32), 0), 1)
    values = net.reshape(source, [-1])
    place = net.binary(net.cast(running, torch.int64), 0, "MAX")
    last = net.sub(size_tensor(net, net.size(values, 0)), 1)
    picked = net.reshape(net.gather(values, net.binary(place, last, "MIN"), 0), sizes)
    return net.select(mask, picked, self)
