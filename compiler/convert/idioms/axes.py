"""Dimension numbers as torch takes them, and dimensions swapped, moved or broadcast."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.convert.net import Net
from compiler.network.network import Tensor


def axis_of(dim: int, rank: int) -> int:
    """The dimension as a non-negative number. As in torch, a 0-dimensional tensor counts as having one.

    ValueError if it is out of range.
    """
    rank = max(rank, 1)
    if not -rank <= dim < rank:
        raise ValueError(f"expected a dimension from {-rank} to {rank - 1}, got {dim}")
    return dim % rank


def axes_of(dims: Sequence[int], rank: int) -> list[int]:
    """The dimensions as non-negative numbers, in the given order."""
    return [axis_of(dim, rank) for dim in dims]


def swap(net: Net, x: Tensor, first: int, second: int) -> Tensor:
    """Two dimensions swapped; either may be negative."""
    if x.ndim == 0:
        return x
    order = list(range(x.ndim))
    a, b = axes_of([first, second], x.ndim)
    order[a], order[b] = b, a
    return net.transpose(x, order)


def move(net: Net, x: Tensor, source: Sequence[int], destination: Sequence[int]) -> Tensor:
    """Dimensions moved to new places; the others keep their order. Any may be negative."""
    if x.ndim == 0:
        return x
    moved = dict(zip(axes_of(destination, x.ndim), axes_of(source, x.ndim), strict=True))
    rest = iter(axis for axis in range(x.ndim) if axis not in moved.values())
    return net.transpose(x, [moved[i] if i in moved else next(rest) for i in range(x.ndim)])


def together(net: Net, *tensors: Tensor) -> list[Tensor]:
    """The tensors broadcast against each other."""
    raised = net.same_rank(*tensors)
    sizes = []
    for axis in range(raised[0].ndim):
        large = [t for t in raised if t.shape[axis] != 1]
        sizes.append(net.size(large[0] if large else raised[0], axis))
    return [net.expand(t, sizes) for t in raised]


def diagonal_of(net: Net, self: Tensor, offset: int, dim1: int, dim2: int) -> Tensor:
    """torch.diagonal: every (columns + 1)th element of the flattened plane."""
    x = move(net, self, [dim1, dim2], [-2, -1])
    *lead, rows, columns = net.sizes(x)
    down, right = max(-offset, 0), max(offset, 0)
    height, width = net.size_op("sub", rows, down), net.size_op("sub", columns, right)
    length = net.size_op("max", net.size_op("min", height, width), 0)
    flat = net.reshape(x, [*lead, net.size_op("mul", rows, columns)])
    start = net.size_op("add", net.size_op("mul", columns, down), right)
    if isinstance(length, int) and length == 0:
        start = 0
    step = net.size_op("add", columns, 1)
    zeros, ones = [0] * len(lead), [1] * len(lead)
    return net.slice(flat, [*zeros, start], [*lead, length], [*ones, step])
