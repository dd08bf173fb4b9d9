"""A slice, a row or a diagonal of a tensor replaced."""

from __future__ import annotations

from compiler.convert.idioms.axes import axis_of, move
from compiler.convert.idioms.positions import as_vector, part_sizes, plain, size_tensor, wrapped
from compiler.convert.idioms.scatter import written
from compiler.convert.net import Net
from compiler.convert.registry import Table
from compiler.network.network import Size, Tensor

TABLE = Table("slice_scatter")


@TABLE.converter("aten.slice_scatter.default")
def slice_scatter(
    net: Net, self: Tensor, src: Tensor, dim: int, start: Size | None, end: Size | None, step: Size
) -> Tensor:
    """self with self[start:end:step] replaced by src."""
    axis = axis_of(dim, self.ndim)
    size = net.size(self, axis)
    first, length = part_sizes(net, size, start, end, step)
    target = net.sizes(self)
    target[axis] = length
    src = net.expand(net.cast(src, self.dtype), target)
    if plain(step) == 1:
        return _between(net, self, src, axis, first, net.size_op("add", first, length))
    numbers = net.add(
        net.mul(net.arange(plain(length)), size_tensor(net, step)), size_tensor(net, first)
    )
    places = net.expand(as_vector(net, numbers, axis, self.ndim), target)
    return written(net, self, axis, places, src)


@TABLE.converter("aten.select_scatter.default")
def select_scatter(net: Net, self: Tensor, src: Tensor, dim: int, index: Size) -> Tensor:
    """self with self[index] along dim replaced by src."""
    axis = axis_of(dim, self.ndim)
    first = wrapped(net, index, net.size(self, axis))
    row = net.unsqueeze(net.cast(src, self.dtype), [axis])
    return _between(net, self, row, axis, first, net.size_op("add", first, 1))


@TABLE.converter("aten.diagonal_scatter.default")
def diagonal_scatter(
    net: Net, self: Tensor, src: Tensor, offset: int, dim1: int, dim2: int
) -> Tensor:
    """self with a diagonal replaced by src [*, length]: src is shifted to its rows, then selected."""
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
