"""Slices written or reduced at a vector of positions along one dim."""

from __future__ import annotations

from compiler.convert.idioms.accumulate import too_large
from compiler.convert.idioms.axes import axis_of
from compiler.convert.idioms.positions import as_vector, wrap_index
from compiler.convert.idioms.scatter import accumulated, restored, written
from compiler.convert.net import Net, Scalar
from compiler.convert.registry import ANY, Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("index_add")

REDUCIBLE = Support(dtypes=ANY)


@TABLE.converter("aten.index_copy.default")
def index_copy(net: Net, self: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Slices of source written at a vector of positions."""
    x, axis, places, values = _slices(net, self, dim, index, source)
    return restored(net, written(net, x, axis, places, values), self)


@TABLE.converter("aten.index_fill.int_Scalar")
def index_fill(net: Net, self: Tensor, dim: int, index: Tensor, value: Scalar) -> Tensor:
    """A number written at a vector of positions, negative ones counted from the end."""
    return _filled(net, self, dim, index, net.scalar(value, self.dtype))


@TABLE.converter("aten.index_fill.int_Tensor")
def index_fill_tensor(net: Net, self: Tensor, dim: int, index: Tensor, value: Tensor) -> Tensor:
    """As `index_fill`, with the number in a 0-dimensional tensor."""
    return _filled(net, self, dim, index, net.cast(value, self.dtype))


def _filled(net: Net, self: Tensor, dim: int, index: Tensor, value: Tensor) -> Tensor:
    x = self if self.ndim else net.reshape(self, [1])
    axis = axis_of(dim, x.ndim)
    places = as_vector(net, wrap_index(net, index, net.size(x, axis)), axis, x.ndim)
    sizes = net.sizes(x)
    sizes[axis] = net.size(places, axis)
    values = net.expand(value, sizes)
    return restored(net, written(net, x, axis, net.expand(places, sizes), values), self)


def _add_check(self: Value, dim: int, source: Value) -> str | None:
    places = self.shape[axis_of(dim, len(self.shape))] if self.shape else 1
    return too_large(source.shape, places)


@TABLE.converter("aten.index_add.default", support=REDUCIBLE, check=_add_check)
def index_add(
    net: Net, self: Tensor, dim: int, index: Tensor, source: Tensor, alpha: Scalar
) -> Tensor:
    """Slices of source, times alpha, added at a vector of positions."""
    if alpha != 1:
        source = net.mul(source, net.scalar(alpha, source.dtype))
    x, axis, places, values = _slices(net, self, dim, index, source)
    return restored(net, accumulated(net, x, axis, places, values, "sum", True), self)


@TABLE.converter("aten.index_reduce.default", support=REDUCIBLE, check=_add_check)
def index_reduce(
    net: Net, self: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, include_self: bool
) -> Tensor:
    """Slices of source reduced at a vector of positions by prod, mean, amax or amin."""
    x, axis, places, values = _slices(net, self, dim, index, source)
    return restored(net, accumulated(net, x, axis, places, values, reduce, include_self), self)


def _slices(
    net: Net, self: Tensor, dim: int, index: Tensor, source: Tensor
) -> tuple[Tensor, int, Tensor, Tensor]:
    """(self, axis, positions, source), of at least one dim; the positions are expanded to source's sizes."""
    x, source = (t if t.ndim else net.reshape(t, [1]) for t in (self, source))
    axis = axis_of(dim, x.ndim)
    places = net.expand(as_vector(net, index, axis, x.ndim), net.sizes(source))
    return x, axis, places, source
