"""Picking every position of a dimension, in order, is the dimension itself: such a call becomes a view.

Hugging Face's attention masks pick `padding_mask[arange(b)[:, None, None, None], arange(s)]`. Written out,
that is a gather at computed positions, and on an H200 an engine with a dynamic batch copies a size from the
host for it at each call: 21 us of BERT-base's 835.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import statically_known_true

from compiler.lower.conditions import functional, no_dead_calls
from compiler.lower.graphs import calls
from compiler.lower.passes import LowerOptions, Pass
from compiler.lower.writer import Writer

aten = torch.ops.aten
INDEX = (aten.index.Tensor, aten._unsafe_index.Tensor)
_ARANGE = (aten.arange.default, aten.arange.start, aten.arange.start_step)
_SAME_ORDER = (
    aten.unsqueeze.default,
    aten.view.default,
    aten.reshape.default,
    aten._unsafe_view.default,
    aten.clone.default,
    aten.alias.default,
    aten._to_copy.default,
    aten.to.dtype,
)
"""What keeps a tensor's elements and their order; a cast, if the result is an integer again."""


@dataclass(frozen=True)
class _Whole:
    """`size` positions from 0 on; `axis` is where in the broadcast index they lie, counted from its
    last one (-1), or None for a single position."""

    size: int | torch.SymInt
    axis: int | None


def _is_int(number: Any, wanted: int) -> bool:
    return type(number) is int and number == wanted


def _whole(node: torch.fx.Node) -> _Whole | None:
    """Of an index tensor; None if it is not known to be one."""
    shape = node.meta["val"].shape
    at = node
    while at.target not in _ARANGE:
        if at.target is aten.add.Tensor and _is_int(at.args[1], 0):
            pass
        elif at.target not in _SAME_ORDER or at.meta["val"].dtype not in (torch.int64, torch.int32):
            return None
        before = at.args[0]
        assert isinstance(before, torch.fx.Node)
        at = before
    bounds: tuple[Any, ...] = at.args
    start, step = (bounds[0] if len(bounds) > 1 else 0), (bounds[2] if len(bounds) > 2 else 1)
    if not (_is_int(start, 0) and _is_int(step, 1)) or at.meta["val"].is_floating_point():
        return None
    (size,) = at.meta["val"].shape
    long = [i - len(shape) for i, n in enumerate(shape) if not statically_known_true(n == 1)]
    return _Whole(size, long[0] if long else None) if len(long) <= 1 else None


def _picked(node: torch.fx.Node) -> dict[int, int | None] | None:
    """For a call that picks every position of each dimension that it indexes: the dimensions, each with
    its axis in the broadcast index. None for other calls."""
    x: Any = node.args[0]
    indices: Any = node.args[1]
    found: dict[int, int | None] = {}
    for dim, index in enumerate(indices):
        if index is None:
            continue
        whole = _whole(index)
        if whole is None or not statically_known_true(whole.size == x.meta["val"].shape[dim]):
            return None
        found[dim] = whole.axis
    axes = [axis for axis in found.values() if axis is not None]
    return found if found and len(set(axes)) == len(axes) else None


def _as_views(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
    for node in calls(exported):
        if node.target not in INDEX or (picked := _picked(node)) is None:
            continue
        node.replace_all_uses_with(_view(Writer(exported, node), node, picked))
    return exported


def _view(writer: Writer, node: torch.fx.Node, picked: dict[int, int | None]) -> torch.fx.Node:
    x: Any = node.args[0]
    indices: Any = node.args[1]
    rank = max(index.meta["val"].ndim for index in indices if index is not None)
    dims = list(picked)
    # NumPy's rule: dimensions that are not adjacent come first in the result.
    first = dims[0] if dims[-1] - dims[0] == len(dims) - 1 else 0
    rest = [d for d in range(x.meta["val"].ndim) if d not in picked]
    single = [d for d in dims if picked[d] is None]
    placed = {axis: d for d, axis in picked.items() if axis is not None}
    order = [*rest[:first], *(placed[axis] for axis in sorted(placed)), *rest[first:]]
    made: torch.fx.Node = x
    for dim in reversed(single):
        made = writer.call(aten.select.int, made, dim, 0)
    left = sorted(order)
    if order != left:
        made = writer.call(aten.permute.default, made, [left.index(d) for d in order])
    for axis in range(-rank, 0):
        if axis not in placed:
            made = writer.call(aten.unsqueeze.default, made, first + rank + axis)
    return made


def no_whole_index(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """No call picks every position of each dimension that it indexes."""
    for node in calls(exported):
        if node.target in INDEX and _picked(node) is not None:
            return f"node {node.name} ({node.target})"
    return None


VIEW_WHOLE_INDEX = Pass(
    name="view_whole_index",
    requires=(functional, no_dead_calls),
    ensures=(no_whole_index, no_dead_calls),
    run=_as_views,
)
