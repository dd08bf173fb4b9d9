"""Dimension numbers as torch takes them, as TensorRT wants them, and clamped positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compiler.convert.net import Net
from compiler.network.network import Size, Tensor

LONGEST = (1 << 31) - 1
"""No dimension in TensorRT is longer; torch writes an open end as the largest int64."""


def axis_of(dim: int, rank: int) -> int:
    """A non-negative dimension; a 0-dimensional tensor counts as one dimension, as in torch."""
    rank = max(rank, 1)
    if not -rank <= dim < rank:
        raise ValueError(f"dimension {dim} of rank {rank}")
    return dim % rank


def axes_of(dims: Sequence[int], rank: int) -> list[int]:
    """Non-negative dimensions, in the given order."""
    return [axis_of(dim, rank) for dim in dims]


def plain(size: Size) -> Size:
    """The number behind a size that is known at build time after all."""
    if isinstance(size, Tensor) and size.constant is not None:
        return int(size.constant.item())
    return size


def wrapped(net: Net, position: Size, size: Size) -> Size:
    """position, counted from the end where negative: `position + size * (position < 0)`."""
    position = plain(position)
    if isinstance(position, int):
        return position if position >= 0 else net.size_op("add", size, position)
    # -1 where negative, 0 elsewhere: no comparison layers on shape tensors
    negative = net.size_op("max", net.size_op("min", position, 0), -1)
    return net.size_op("sub", position, net.size_op("mul", negative, size))


def bounded(net: Net, position: Size | None, size: Size, default: Size) -> Size:
    """A slice's start or end as Python and torch take it: from the end if negative, then clamped."""
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
    """Non-negative a over positive b, rounded up."""
    if isinstance(b, int) and b == 1:
        return a
    return net.size_op("floordiv", net.size_op("sub", net.size_op("add", a, b), 1), b)


def wrap_index(net: Net, index: Tensor, size: Size) -> Tensor:
    """Index tensor elements, counted from the end where negative; int64."""
    index = net.cast(index, torch.int64)
    if index.constant is not None:
        if index.constant.numel() == 0 or int(index.constant.min()) >= 0:
            return index
        if isinstance(size, int):
            return net.constant(
                torch.where(index.constant < 0, index.constant + size, index.constant)
            )
    return net.select(net.compare(index, 0, "LESS"), net.add(index, size_tensor(net, size)), index)


def size_tensor(net: Net, size: Size) -> Tensor:
    """A size as a 0-dimensional int64 tensor."""
    return net.scalar(size, torch.int64) if isinstance(size, int) else size
