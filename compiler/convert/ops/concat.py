"""Tensors joined: end to end, stacked, or side by side."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.convert.idioms.axes import axis_of
from compiler.convert.net import Net
from compiler.convert.registry import Table
from compiler.network.network import Tensor

TABLE = Table("concat")


@TABLE.converter("aten.cat.default", "aten.concat.default")
def cat(net: Net, tensors: Sequence[Tensor], dim: int) -> Tensor:
    """Tensors end to end, in their promoted dtype; empty one-dimensional ones are left out."""
    return joined(net, tensors, dim)


def joined(net: Net, tensors: Sequence[Tensor], dim: int) -> Tensor:
    """torch.cat."""
    promoted = net.promote(*tensors)
    kept = [t for t in promoted if t.shape != (0,)] or list(promoted[:1])
    return net.concat(kept, axis_of(dim, kept[0].ndim))


@TABLE.converter("aten.stack.default")
def stack(net: Net, tensors: Sequence[Tensor], dim: int) -> Tensor:
    """Tensors of one shape along a new dimension, in their promoted dtype."""
    axis = axis_of(dim, tensors[0].ndim + 1)
    return net.concat([net.unsqueeze(t, [axis]) for t in net.promote(*tensors)], axis)


@TABLE.converter("aten.hstack.default")
def hstack(net: Net, tensors: Sequence[Tensor]) -> Tensor:
    """Side by side: along dim 1, or 0 for vectors."""
    lifted = _at_least(net, tensors, 1)
    return joined(net, lifted, 0 if lifted[0].ndim == 1 else 1)


@TABLE.converter("aten.vstack.default")
def vstack(net: Net, tensors: Sequence[Tensor]) -> Tensor:
    """One below another; vectors are rows."""
    return joined(net, _at_least(net, tensors, 2), 0)


@TABLE.converter("aten.dstack.default")
def dstack(net: Net, tensors: Sequence[Tensor]) -> Tensor:
    """One behind another, along dim 2."""
    flat = _at_least(net, tensors, 2)
    return joined(net, [t if t.ndim > 2 else net.unsqueeze(t, [2]) for t in flat], 2)


@TABLE.converter("aten.column_stack.default")
def column_stack(net: Net, tensors: Sequence[Tensor]) -> Tensor:
    """Vectors and scalars as columns, then side by side."""
    return joined(net, [t if t.ndim > 1 else net.reshape(t, [-1, 1]) for t in tensors], 1)


def _at_least(net: Net, tensors: Sequence[Tensor], rank: int) -> list[Tensor]:
    """The tensors with leading dims of size one added, up to the rank."""
    return [net.unsqueeze(t, range(max(rank - t.ndim, 0))) for t in tensors]
