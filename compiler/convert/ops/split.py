"""Parts of tensors: slices, single elements, and splits into equal or given sizes."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.convert.idioms.axes import axis_of
from compiler.convert.idioms.positions import (
    ceil_div,
    is_open,
    part_sizes,
    plain,
    size_tensor,
    wrapped,
)
from compiler.convert.net import Net
from compiler.convert.registry import Table
from compiler.network.network import Size, Tensor

TABLE = Table("split")


# -- one part ------------------------------------------------------------------------------


@TABLE.converter("aten.slice.Tensor")
def slice_(
    net: Net, self: Tensor, dim: int, start: Size | None, end: Size | None, step: Size
) -> Tensor:
    """self[start:end:step] along dim, with Python's clamping; step is positive."""
    return part(net, self, axis_of(dim, self.ndim), start, end, step)


def part(
    net: Net, x: Tensor, axis: int, start: Size | None, end: Size | None, step: Size = 1
) -> Tensor:
    """x[start:end:step] along a non-negative axis, clamped as in torch."""
    start, step = None if start is None else plain(start), plain(step)
    if start in (None, 0) and is_open(end) and step == 1:
        return x
    size = net.size(x, axis)
    first, length = part_sizes(net, size, start, end, step)
    if first == 0 and length == size and isinstance(size, int):
        return x
    starts: list[Size] = [0] * x.ndim
    sizes = net.sizes(x)
    steps: list[Size] = [1] * x.ndim
    starts[axis], sizes[axis], steps[axis] = first, length, step
    return net.slice(x, starts, sizes, steps)


@TABLE.converter("aten.select.int")
def select(net: Net, self: Tensor, dim: int, index: Size) -> Tensor:
    """self[index] along dim, which is removed."""
    return pick(net, self, axis_of(dim, self.ndim), index)


def pick(net: Net, x: Tensor, axis: int, index: Size) -> Tensor:
    """x[index] along a non-negative axis, which is removed."""
    position = plain(index)
    if not isinstance(position, int) or position < 0:
        position = wrapped(net, position, net.size(x, axis))
    return net.gather(x, size_tensor(net, position), axis)


@TABLE.converter("aten.narrow.default", "aten.narrow_copy.default")
def narrow(net: Net, self: Tensor, dim: int, start: Size, length: Size) -> Tensor:
    """`length` elements from `start`, which may be negative."""
    axis = axis_of(dim, self.ndim)
    return net.narrow(self, axis, wrapped(net, start, net.size(self, axis)), plain(length))


# -- many parts ----------------------------------------------------------------------------


@TABLE.converter("aten.unbind.int", "aten.unbind_copy.int")
def unbind(net: Net, self: Tensor, dim: int) -> list[Tensor]:
    """Every element along dim."""
    axis = axis_of(dim, self.ndim)
    return [pick(net, self, axis, i) for i in range(len(net.declared))]


@TABLE.converter("aten.split.Tensor", "aten.unsafe_split.Tensor")
def split(net: Net, self: Tensor, split_size: Size, dim: int) -> list[Tensor]:
    """Parts of split_size elements; the last one holds the rest."""
    return _equal_parts(net, self, plain(split_size), axis_of(dim, self.ndim))


def _equal_parts(net: Net, x: Tensor, step: Size, axis: int) -> list[Tensor]:
    """Parts of one size, and a last one with the rest. The export's guards fix their number."""
    others = len(net.declared) - 1
    rest = net.size_op("sub", net.size(x, axis), net.size_op("mul", step, others))
    return _sized(net, x, [*[step] * others, rest], axis)


@TABLE.converter("aten.split_with_sizes.default")
def split_with_sizes(net: Net, self: Tensor, split_sizes: Sequence[Size], dim: int) -> list[Tensor]:
    """Parts of the given sizes, which add up to the whole."""
    return _sized(net, self, split_sizes, axis_of(dim, self.ndim))


@TABLE.converter("aten.split.sizes")
def split_sizes(net: Net, self: Tensor, split_size: Sequence[Size], dim: int) -> list[Tensor]:
    """As `split_with_sizes`."""
    return _sized(net, self, split_size, axis_of(dim, self.ndim))


@TABLE.converter("aten.chunk.default", "aten.unsafe_chunk.default")
def chunk(net: Net, self: Tensor, chunks: int, dim: int) -> list[Tensor]:
    """At most `chunks` parts of one size; the last one holds the rest."""
    axis = axis_of(dim, self.ndim)
    return _equal_parts(net, self, ceil_div(net, net.size(self, axis), chunks), axis)


@TABLE.converter("aten.tensor_split.sections")
def tensor_split(net: Net, self: Tensor, sections: Size, dim: int) -> list[Tensor]:
    """`sections` parts; the first ones get one more element if the size is not divisible."""
    axis, count = axis_of(dim, self.ndim), len(net.declared)
    total = net.size(self, axis)
    low = net.size_op("floordiv", total, count)
    extra = net.size_op("sub", total, net.size_op("mul", low, count))
    sizes = [
        # 1 while i < extra: min(max(extra - i, 0), 1)
        net.size_op(
            "add", low, net.size_op("min", net.size_op("max", net.size_op("sub", extra, i), 0), 1)
        )
        for i in range(count)
    ]
    return _sized(net, self, sizes, axis)


@TABLE.converter("aten.tensor_split.indices")
def tensor_split_at(net: Net, self: Tensor, indices: Sequence[Size], dim: int) -> list[Tensor]:
    """Parts between the indices, with Python's clamping."""
    axis = axis_of(dim, self.ndim)
    edges: list[Size | None] = [0, *indices, None]
    return [part(net, self, axis, edges[i], edges[i + 1]) for i in range(len(edges) - 1)]


def _sized(net: Net, x: Tensor, sizes: Sequence[Size], axis: int) -> list[Tensor]:
    start: Size = 0
    parts = []
    for size in sizes:
        length = plain(size)
        parts.append(net.narrow(x, axis, start, length))
        start = net.size_op("add", start, length)
    return parts
