"""Elements repeated, reversed, rotated, or picked by a fixed pattern."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.convert.idioms.axes import axes_of, axis_of, diagonal_of, move, swap
from compiler.convert.idioms.positions import ceil_div, plain
from compiler.convert.net import Net
from compiler.convert.registry import Table
from compiler.network.network import Size, Tensor

TABLE = Table("movement")


# -- repeating -----------------------------------------------------------------------------


@TABLE.converter("aten.repeat.default")
def repeat(net: Net, self: Tensor, repeats: Sequence[Size]) -> Tensor:
    """The whole tensor repeated along each dim; extra repeats add leading dims."""
    return _repeated(net, self, repeats)


def _repeated(net: Net, self: Tensor, repeats: Sequence[Size]) -> Tensor:
    x = net.unsqueeze(self, range(len(repeats) - self.ndim))
    counts = [plain(n) for n in repeats]
    if all(n == 1 for n in counts if isinstance(n, int)) and all(
        isinstance(n, int) for n in counts
    ):
        return x
    sizes = [net.size_op("mul", n, count) for n, count in zip(net.sizes(x), counts, strict=True)]
    if all(x.shape[i] == 1 or counts[i] == 1 for i in range(x.ndim)):
        return net.expand(x, [n if c != 1 else -1 for n, c in zip(sizes, counts, strict=True)])
    return net.slice(x, [0] * x.ndim, sizes, [1] * x.ndim, "WRAP")


@TABLE.converter("aten.tile.default")
def tile(net: Net, self: Tensor, dims: Sequence[Size]) -> Tensor:
    """As `repeat`; if there are fewer repeats than dims, they apply to the last dims."""
    return _repeated(net, self, [*[1] * (self.ndim - len(dims)), *dims])


@TABLE.converter("aten.repeat_interleave.self_int")
def repeat_interleave(
    net: Net, self: Tensor, repeats: Size, dim: int | None, output_size: Size | None
) -> Tensor:
    """Each element `repeats` times in a row along dim (of the flattened tensor if None)."""
    x = net.reshape(self, [-1]) if dim is None or self.ndim == 0 else self
    axis = axis_of(dim or 0, x.ndim)
    sizes = net.sizes(x)
    wide = net.expand(
        net.unsqueeze(x, [axis + 1]), [*sizes[: axis + 1], repeats, *sizes[axis + 1 :]]
    )
    sizes[axis] = net.size_op("mul", sizes[axis], repeats)
    return net.reshape(wide, sizes)


# -- reversing and rotating ----------------------------------------------------------------


@TABLE.converter("aten.flip.default")
def flip(net: Net, self: Tensor, dims: Sequence[int]) -> Tensor:
    """Elements in reverse order along dims."""
    return _flipped(net, self, dims)


def _flipped(net: Net, self: Tensor, dims: Sequence[int]) -> Tensor:
    chosen = set(axes_of(dims, self.ndim)) if self.ndim else set()
    chosen = {axis for axis in chosen if self.shape[axis] not in (0, 1)}
    if not chosen:
        return self
    sizes = net.sizes(self)
    start = [net.size_op("sub", n, 1) if i in chosen else 0 for i, n in enumerate(sizes)]
    return net.slice(self, start, sizes, [-1 if i in chosen else 1 for i in range(self.ndim)])


@TABLE.converter("aten.roll.default")
def roll(net: Net, self: Tensor, shifts: Sequence[Size], dims: Sequence[int]) -> Tensor:
    """Elements rotated by shifts along dims (of the flattened tensor if there are none)."""
    if self.ndim == 0:
        return self
    if not dims:
        flat = _rolled(net, net.reshape(self, [-1]), shifts, [0])
        return net.reshape(flat, net.sizes(self))
    return _rolled(net, self, shifts, dims)


def _rolled(net: Net, self: Tensor, shifts: Sequence[Size], dims: Sequence[int]) -> Tensor:
    start: list[Size] = [0] * self.ndim
    for axis, shift in zip(axes_of(dims, self.ndim), shifts, strict=True):
        start[axis] = net.size_op("sub", start[axis], plain(shift))
    for axis, n in enumerate(self.shape):
        first = start[axis]
        if isinstance(first, int) and n:
            start[axis] = first % n
    if all(isinstance(first, int) and first == 0 for first in start):
        return self
    return net.slice(self, start, net.sizes(self), [1] * self.ndim, "WRAP")


@TABLE.converter("aten.rot90.default")
def rot90(net: Net, self: Tensor, k: int, dims: Sequence[int]) -> Tensor:
    """k quarter turns, from the first of dims to the second."""
    first, second = axes_of(dims, self.ndim)
    if k % 4 == 1:
        return swap(net, _flipped(net, self, [second]), first, second)
    if k % 4 == 2:
        return _flipped(net, self, [first, second])
    return _flipped(net, swap(net, self, first, second), [second]) if k % 4 else self


# -- patterns of positions -----------------------------------------------------------------


@TABLE.converter("aten.diagonal.default")
def diagonal(net: Net, self: Tensor, offset: int, dim1: int, dim2: int) -> Tensor:
    """The diagonal of two dims as a new last dim."""
    return diagonal_of(net, self, offset, dim1, dim2)


@TABLE.converter("aten.diag_embed.default")
def diag_embed(net: Net, self: Tensor, offset: int, dim1: int, dim2: int) -> Tensor:
    """Zeros, with the last dim of self on a diagonal of the result's dims dim1 and dim2."""
    size = net.size_op("add", net.size(self, self.ndim - 1), abs(offset))
    lead = net.sizes(self)[:-1]
    zero = net.scalar(0, self.dtype)
    x = self
    if offset:
        x = net.slice(self, [0] * self.ndim, [*lead, size], [1] * self.ndim, "FILL", zero)
    # A column if the diagonal lies above the main one, a row if below.
    x = net.unsqueeze(x, [self.ndim if offset >= 0 else self.ndim - 1])
    steps = net.arange(size)
    row, column = net.unsqueeze(steps, [1]), net.unsqueeze(steps, [0])
    on = net.equal(net.add(row, offset), column)
    plane = net.select(on, x, zero)
    return move(net, plane, [-2, -1], [dim1, dim2])


@TABLE.converter("aten.unfold.default")
def unfold(net: Net, self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size` elements, `step` apart, along a dimension; each window is laid out in a new last dim."""
    if self.ndim == 0:
        return net.reshape(self, [1]) if size else net.slice(net.reshape(self, [1]), [0], [0], [1])
    axis = axis_of(dimension, self.ndim)
    count = ceil_div(net, net.size_op("sub", net.size(self, axis), size - 1), step)
    starts = net.mul(net.unsqueeze(net.arange(count), [1]), step)
    index = net.add(starts, net.unsqueeze(net.arange(size), [0]))
    return move(net, net.gather(self, index, axis), [axis + 1], [-1])


# -- channels and pixels -------------------------------------------------------------------


@TABLE.converter("aten.pixel_shuffle.default")
def pixel_shuffle(net: Net, self: Tensor, upscale_factor: int) -> Tensor:
    """[*, c * r * r, h, w] to [*, c, h * r, w * r]."""
    r = upscale_factor
    *lead, channels, height, width = net.sizes(self)
    c = net.size_op("floordiv", channels, r * r)
    parts = net.reshape(self, [net.product([*lead, c]), r, r, height, width])
    mixed = net.transpose(parts, [0, 3, 1, 4, 2])
    return net.reshape(
        mixed, [*lead, c, net.size_op("mul", height, r), net.size_op("mul", width, r)]
    )


@TABLE.converter("aten.pixel_unshuffle.default")
def pixel_unshuffle(net: Net, self: Tensor, downscale_factor: int) -> Tensor:
    """[*, c, h * r, w * r] to [*, c * r * r, h, w]."""
    r = downscale_factor
    *lead, channels, tall, wide = net.sizes(self)
    height, width = net.size_op("floordiv", tall, r), net.size_op("floordiv", wide, r)
    parts = net.reshape(self, [net.product([*lead, channels]), height, r, width, r])
    mixed = net.transpose(parts, [0, 2, 4, 1, 3])
    return net.reshape(mixed, [*lead, net.size_op("mul", channels, r * r), height, width])


@TABLE.converter("aten.channel_shuffle.default")
def channel_shuffle(net: Net, self: Tensor, groups: Size) -> Tensor:
    """The channels (dim 1) of all groups interleaved."""
    batch, channels, *rest = net.sizes(self)
    inner = net.size_op("floordiv", channels, groups)
    parts = net.reshape(self, [batch, groups, inner, net.product(rest)])
    return net.reshape(net.transpose(parts, [0, 2, 1, 3]), net.sizes(self))
