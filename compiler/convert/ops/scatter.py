"""Tensors with some elements replaced, or reduced with others."""

from __future__ import annotations

import math

import torch

from compiler.convert.idioms.accumulate import (
    REDUCTIONS,
    combined,
    neutral,
    one_hot,
    reduced,
    too_large,
)
from compiler.convert.idioms.axes import axis_of, plain, wrap_index, wrapped
from compiler.convert.net import Net, Scalar
from compiler.convert.ops.index import as_vector
from compiler.convert.ops.shape import move, together
from compiler.convert.ops.split import part_sizes
from compiler.convert.registry import ANY, Support, Table
from compiler.network.network import Size, Tensor
from enginebundle.format.graph import Value

TABLE = Table("scatter")
REDUCIBLE = Support(dtypes=ANY)

# -- torch.scatter: index has self's rank ---------------------------------------------------


@TABLE.converter("aten.scatter.src")
def scatter(net: Net, self: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """src written at index along dim; index may be shorter than self and src."""
    return written(net, self, axis_of(dim, self.ndim), index, src)


@TABLE.converter("aten.scatter.value")
def scatter_value(net: Net, self: Tensor, dim: int, index: Tensor, value: Scalar) -> Tensor:
    """A number written at index along dim."""
    values = net.full(net.sizes(index), value, self.dtype)
    return written(net, self, axis_of(dim, self.ndim), index, values)


def written(net: Net, x: Tensor, axis: int, index: Tensor, src: Tensor) -> Tensor:
    """torch.scatter along a non-negative axis."""
    data, index, src = (t if t.ndim else net.reshape(t, [1]) for t in (x, index, src))
    return _restored(net, net.scatter_elements(data, index, _cut(net, src, index), axis), x)


def _cut(net: Net, src: Tensor, index: Tensor) -> Tensor:
    """src cut to the sizes of index."""
    pairs = list(zip(src.shape, index.shape, strict=True))
    if all(a is not None and a == b for a, b in pairs):
        return src
    return net.slice(src, [0] * src.ndim, net.sizes(index), [1] * src.ndim)


def _restored(net: Net, result: Tensor, like: Tensor) -> Tensor:
    return result if like.ndim else net.reshape(result, [])


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


def accumulated(
    net: Net, self: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, include_self: bool
) -> Tensor:
    """torch.scatter_reduce; of bools, a sum is any and a product all."""
    if self.dtype == torch.bool:
        whole = "amax" if REDUCTIONS[reduce] in ("SUM", "MAX") else "amin"
        numbers = [net.cast(t, torch.int32) for t in (self, src)]
        made = accumulated(net, numbers[0], dim, index, numbers[1], whole, include_self)
        return net.cast(made, torch.bool)
    x, index, src = (t if t.ndim else net.reshape(t, [1]) for t in (self, index, src))
    axis, op = axis_of(dim, x.ndim), REDUCTIONS[reduce]
    values = move(net, _cut(net, src, index), [axis], [-1])
    hits = one_hot(net, move(net, index, [axis], [-1]), net.size(x, axis))
    values = net.unsqueeze(values, [values.ndim])
    found, count = reduced(net, hits, values, x.ndim - 1, op, x.dtype)
    found, count = (move(net, t, [-1], [axis]) for t in (found, count))
    found = _grown(net, found, x, neutral(x.dtype, op))
    count = _grown(net, count, x, 0)
    return _restored(net, combined(net, x, found, count, reduce, include_self), self)


def _grown(net: Net, x: Tensor, like: Tensor, value: Scalar) -> Tensor:
    """x filled up behind to the sizes of like."""
    if all(a is not None and a == b for a, b in zip(x.shape, like.shape, strict=True)):
        return x
    zeros, ones = [0] * x.ndim, [1] * x.ndim
    return net.slice(x, zeros, net.sizes(like), ones, "FILL", net.scalar(value, x.dtype))


# -- a vector of positions along one dim -----------------------------------------------------


@TABLE.converter("aten.index_copy.default")
def index_copy(net: Net, self: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Slices of source written at a vector of positions."""
    x, axis, places, values = _slices(net, self, dim, index, source)
    return _restored(net, written(net, x, axis, places, values), self)


@TABLE.converter("aten.index_fill.int_Scalar")
def index_fill(net: Net, self: Tensor, dim: int, index: Tensor, value: Scalar) -> Tensor:
    """A number written at a vector of positions, negative ones counted from the end."""
    return _filled(net, self, dim, index, net.scalar(value, self.dtype))


@TABLE.converter("aten.index_fill.int_Tensor")
def index_fill_tensor(net: Net, self: Tensor, dim: int, index: Tensor, value: Tensor) -> Tensor:
    """As `index_fill`, the number in a 0-dimensional tensor."""
    return _filled(net, self, dim, index, net.cast(value, self.dtype))


def _filled(net: Net, self: Tensor, dim: int, index: Tensor, value: Tensor) -> Tensor:
    x = self if self.ndim else net.reshape(self, [1])
    axis = axis_of(dim, x.ndim)
    places = as_vector(net, wrap_index(net, index, net.size(x, axis)), axis, x.ndim)
    sizes = net.sizes(x)
    sizes[axis] = net.size(places, axis)
    values = net.expand(value, sizes)
    return _restored(net, written(net, x, axis, net.expand(places, sizes), values), self)


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
    return _restored(net, accumulated(net, x, axis, places, values, "sum", True), self)


@TABLE.converter("aten.index_reduce.default", support=REDUCIBLE, check=_add_check)
def index_reduce(
    net: Net, self: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, include_self: bool
) -> Tensor:
    """Slices of source reduced at a vector of positions by prod, mean, amax or amin."""
    x, axis, places, values = _slices(net, self, dim, index, source)
    return _restored(net, accumulated(net, x, axis, places, values, reduce, include_self), self)


def _slices(
    net: Net, self: Tensor, dim: int, index: Tensor, source: Tensor
) -> tuple[Tensor, int, Tensor, Tensor]:
    """Everything with a dimension at least, and the positions repeated for all of source."""
    x, source = (t if t.ndim else net.reshape(t, [1]) for t in (self, source))
    axis = axis_of(dim, x.ndim)
    places = net.expand(as_vector(net, index, axis, x.ndim), net.sizes(source))
    return x, axis, places, source


# -- slices ----------------------------------------------------------------------------------


@TABLE.converter("aten.slice_scatter.default")
def slice_scatter(
    net: Net, self: Tensor, src: Tensor, dim: int, start: Size | None, end: Size | None, step: Size
) -> Tensor:
    """src in the place of self[start:end:step]."""
    axis = axis_of(dim, self.ndim)
    size = net.size(self, axis)
    first, length = part_sizes(net, size, start, end, step)
    target = net.sizes(self)
    target[axis] = length
    src = net.expand(net.cast(src, self.dtype), target)
    if plain(step) == 1:
        return _between(net, self, src, axis, first, net.size_op("add", first, length))
    numbers = net.add(net.mul(net.arange(plain(length)), _number(net, step)), _number(net, first))
    places = net.expand(as_vector(net, numbers, axis, self.ndim), target)
    return written(net, self, axis, places, src)


@TABLE.converter("aten.select_scatter.default")
def select_scatter(net: Net, self: Tensor, src: Tensor, dim: int, index: Size) -> Tensor:
    """src in the place of self[index] along dim."""
    axis = axis_of(dim, self.ndim)
    first = wrapped(net, index, net.size(self, axis))
    row = net.unsqueeze(net.cast(src, self.dtype), [axis])
    return _between(net, self, row, axis, first, net.size_op("add", first, 1))


@TABLE.converter("aten.diagonal_scatter.default")
def diagonal_scatter(
    net: Net, self: Tensor, src: Tensor, offset: int, dim1: int, dim2: int
) -> Tensor:
    """src [*, length] in the place of self's diagonal: its numbers stand in their rows, then choose."""
    x = move(net, self, [dim1, dim2], [-2, -1])
    rows, columns = net.size(x, x.ndim - 2), net.size(x, x.ndim - 1)
    down = max(-offset, 0)
    start: list[Size] = [*[0] * (src.ndim - 1), -down]
    lead = net.sizes(src)[:-1]
    zero = net.scalar(0, self.dtype)
    column = net.slice(
        net.cast(src, self.dtype), start, [*lead, rows], [1] * src.ndim, "FILL", zero
    )
    row_numbers = net.unsqueeze(net.arange(plain(rows)), [1])
    on = net.equal(net.add(row_numbers, offset), net.unsqueeze(net.arange(plain(columns)), [0]))
    plane = net.select(on, net.unsqueeze(column, [src.ndim]), x)
    return move(net, plane, [-2, -1], [dim1, dim2])


def _between(net: Net, x: Tensor, middle: Tensor, axis: int, first: Size, last: Size) -> Tensor:
    """x[:first], middle, x[last:] along axis."""
    size = net.size(x, axis)
    parts = [middle]
    if not (isinstance(first, int) and first == 0):
        parts.insert(0, net.narrow(x, axis, 0, first))
    if not (isinstance(last, int) and last == size):
        parts.append(net.narrow(x, axis, last, net.size_op("sub", size, last)))
    return net.concat(parts, axis)


def _put_check(self: Value, source: Value, accumulate: bool) -> str | None:
    if not accumulate:
        return None
    places = [n for n in self.shape if isinstance(n, int)]
    return too_large(source.shape, math.prod(places) if len(places) == len(self.shape) else "n")


@TABLE.converter("aten.put.default", support=REDUCIBLE, check=_put_check)
def put(net: Net, self: Tensor, index: Tensor, source: Tensor, accumulate: bool) -> Tensor:
    """source written (or added) at positions of the flat tensor, negative ones from its end."""
    flat = net.reshape(self, [-1])
    places = wrap_index(net, net.reshape(index, [-1]), net.size(flat, 0))
    values = net.reshape(source, [-1])
    if accumulate:
        result = accumulated(net, flat, 0, places, values, "sum", True)
    else:
        result = written(net, flat, 0, places, values)
    return net.reshape(result, net.sizes(self))


def _number(net: Net, size: Size) -> Tensor:
    return net.scalar(size, torch.int64) if isinstance(size, int) else size


@TABLE.converter("aten.masked_scatter.default")
def masked_scatter(net: Net, self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Where mask holds, the elements of source in order: the nth of them is the running count."""
    self, mask = together(net, self, mask)
    sizes = net.sizes(self)
    flat = net.reshape(mask, [-1])
    running = net.sub(net.cumulative(net.cast(flat, torch.int32), 0), 1)
    values = net.reshape(source, [-1])
    place = net.binary(net.cast(running, torch.int64), 0, "MAX")
    last = net.sub(_number(net, net.size(values, 0)), 1)
    picked = net.reshape(net.gather(values, net.binary(place, last, "MIN"), 0), sizes)
    return net.select(mask, picked, self)
