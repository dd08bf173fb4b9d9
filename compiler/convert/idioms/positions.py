"""Sizes of dimensions and positions in them: negative positions wrapped, slices clamped as in torch."""

from __future__ import annotations

import torch

from compiler.convert.net import Net
from compiler.network.network import Size, Tensor

LONGEST = (1 << 31) - 1
"""The longest dimension in TensorRT. torch writes an open end as the largest int64."""


def plain(size: Size) -> Size:
    """The size, as a number if it is a constant tensor."""
    if isinstance(size, Tensor) and size.constant is not None:
        return int(size.constant.item())
    return size


def size_tensor(net: Net, size: Size) -> Tensor:
    """A size as a 0-dimensional int64 tensor."""
    return net.scalar(size, torch.int64) if isinstance(size, int) else size


def wrapped(net: Net, position: Size, size: Size) -> Size:
    """The position, counted from the end if negative: `position + size * (position < 0)`."""
    position = plain(position)
    if isinstance(position, int):
        return position if position >= 0 else net.size_op("add", size, position)
    # -1 if negative, else 0, without comparison layers, which shape tensors do not allow
    negative = net.size_op("max", net.size_op("min", position, 0), -1)
    return net.size_op("sub", position, net.size_op("mul", negative, size))


def bounded(net: Net, position: Size | None, size: Size, default: Size) -> Size:
    """A slice's start or end as in Python: counted from the end if negative, then clamped."""
    if position is None:
        return default
    position = plain(position)
    if isinstance(position, int):
        if isinstance(size, int):
            return max(0, min(position if position >= 0 else position + size, size))
        if position >= LONGEST:
            return size
        if position >= 0:
            return net.size_op("min", size, position) if position else 0
        return net.size_op("max", net.size_op("add", size, position), 0)
    return net.size_op("max", net.size_op("min", wrapped(net, position, size), size), 0)


def ceil_div(net: Net, a: Size, b: Size) -> Size:
    """a / b rounded up, for non-negative a and positive b."""
    if isinstance(b, int) and b == 1:
        return a
    return net.size_op("floordiv", net.size_op("sub", net.size_op("add", a, b), 1), b)


def wrap_index(net: Net, index: Tensor, size: Size) -> Tensor:
    """The index tensor as int64, with negative elements counted from the end."""
    index = net.cast(index, torch.int64)
    if index.constant is not None:
        if index.constant.numel() == 0 or int(index.constant.min()) >= 0:
            return index
        if isinstance(size, int):
            return net.constant(
                torch.where(index.constant < 0, index.constant + size, index.constant)
            )
    return net.select(net.compare(index, 0, "LESS"), net.add(index, size_tensor(net, size)), index)


def is_open(end: Size | None) -> bool:
    """Whether a slice runs to the end, whatever the size."""
    return end is None or (isinstance(end, int) and end >= LONGEST)


def part_sizes(
    net: Net, size: Size, start: Size | None, end: Size | None, step: Size
) -> tuple[Size, Size]:
    """The start and length of a slice of a dimension with `size` elements."""
    first = bounded(net, start, size, 0)
    last = bounded(net, end, size, size)
    length = last
    if not (isinstance(first, int) and first == 0):
        length = net.size_op("sub", last, first)
        if not is_open(end):
            length = net.size_op("max", length, 0)
    return first, ceil_div(net, length, plain(step))


def as_vector(net: Net, index: Tensor, axis: int, rank: int) -> Tensor:
    """A vector of positions as int64 of `rank` dims: all of size one except `axis`."""
    index = index if index.ndim else net.reshape(index, [1])
    return net.unsqueeze(net.cast(index, torch.int64), [i for i in range(rank) if i != axis])
