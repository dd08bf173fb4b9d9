"""Results of data-dependent size, computed at their largest size and cut at the end.

No result of a TensorRT-RTX engine may have such a size. But `nonzero`, `unique` or a mask gives at
most as many elements as its input has: the engine returns that many, with a count of the valid ones,
and a last step in torch cuts to the count. Only results of the model are rewritten this way. Where
the model goes on computing with such a size, that part stays in torch, as does the operator that
gave the size.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.lower.compact import Groups, Node, Rewrite, rank_of, rows_of
from compiler.lower.conditions import functional
from compiler.lower.graphs import calls
from compiler.lower.noops import no_assertions
from compiler.lower.passes import LowerOptions, Pass

aten = torch.ops.aten

PAIRS = 1 << 20
"""The most comparisons between elements that sorting rows may take."""
SORTED = 3840
"""The most elements that TensorRT sorts; beyond that torch sorts them and finds the unique ones faster."""


def _bound_sizes(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
    for node in calls(exported):
        if not _is_boundable(node):
            continue
        made = RULES[node.target].write(Rewrite(exported, node), *node.args, **node.kwargs)
        if isinstance(made, Node):
            node.replace_all_uses_with(made)
        else:
            for user in list(node.users):
                user.replace_all_uses_with(made[user.args[1]])  # type: ignore[index]
    return exported


def _is_boundable(node: Node) -> bool:
    """Whether a rule takes the node, and the model does nothing with it but return it."""
    rule = RULES.get(node.target)
    return rule is not None and _is_result(node) and rule.takes(*node.args, **node.kwargs)


def sizes_bounded(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """No result of the model has a data-dependent size where one of a fixed size could be cut."""
    for node in calls(exported):
        if _is_boundable(node):
            return f"node {node.name} ({node.target}) has a data-dependent size"
    return None


def _is_result(node: Node) -> bool:
    """Whether only the model's output reads the node or its parts."""
    several = isinstance(node.meta["val"], tuple | list)
    parts = list(node.users) if several else [node]
    if several and any(part.target is not operator.getitem for part in parts):
        return False
    return all(user.op == "output" for part in parts for user in part.users)


def _has_fixed_rows(x: Node) -> bool:
    shape = x.meta["val"].shape
    return bool(shape) and all(isinstance(n, int) for n in shape[1:]) and 0 not in shape


def _nonzero(r: Rewrite, x: Node) -> Node:
    columns, count = _coordinates(r, x)
    return r.first(r("stack.default", columns, 1), 0, count)


def _is_columns(x: Node, dim: int = 0) -> bool:
    is_nonzero = x.target is aten.nonzero.default and dim == 1 and len(x.users) <= 1
    return is_nonzero and _has_fixed_rows(x.args[0])  # type: ignore[arg-type]


def _unbind(r: Rewrite, x: Node, dim: int = 0) -> dict[int, Node]:
    """The columns of `nonzero`: torch.nonzero(as_tuple=True), and torch.where with only a condition."""
    columns, count = _coordinates(r, x.args[0])
    return {i: r.first(column, 0, count) for i, column in enumerate(columns)}


def _coordinates(r: Rewrite, x: Any) -> tuple[list[Node], Node]:
    """A column for each dimension of x, and the number of valid elements in each."""
    shape = x.meta["val"].shape
    held = x if x.meta["val"].dtype == torch.bool else r("ne.Scalar", x, 0)
    places, count, _ = r.compact(r.flat(held))
    columns = []
    for axis in range(len(shape)):
        inner = math.prod(int(n) for n in shape[axis + 1 :])
        column = r("div.Tensor_mode", places, inner, rounding_mode="floor") if inner > 1 else places
        columns.append(r("remainder.Scalar", column, int(shape[axis])) if axis else column)
    return columns, count


def _shared_shape(x: Node, mask: Node) -> Any:
    return torch.broadcast_shapes(x.meta["val"].shape, mask.meta["val"].shape)  # type: ignore[no-untyped-call]


def _has_elements(x: Node, mask: Node) -> bool:
    shape = _shared_shape(x, mask)
    return bool(shape) and 0 not in shape


def _masked_select(r: Rewrite, x: Node, mask: Node) -> Node:
    sizes = [r.size(n) for n in _shared_shape(x, mask)]
    places, count, _ = r.compact(r.flat(r("expand.default", mask, sizes)))
    return r.first(r.take(r.flat(r("expand.default", x, sizes)), 0, places), 0, count)


def _is_masked(x: Node, indices: list[Node | None]) -> bool:
    if len(indices) != 1 or indices[0] is None:
        return False
    mask = indices[0].meta["val"]
    return mask.dtype == torch.bool and bool(mask.ndim) and 0 not in x.meta["val"].shape


def _index(r: Rewrite, x: Node, indices: list[Node]) -> Node:
    (mask,) = indices
    inner = x.meta["val"].shape[mask.meta["val"].ndim :]
    rows = r("reshape.default", x, [-1, *(r.size(n) for n in inner)])
    places, count, _ = r.compact(r.flat(mask))
    return r.first(r.take(rows, 0, places), 0, count)


def _is_not_empty(x: Node, *_: Any, **__: Any) -> bool:
    return 0 not in x.meta["val"].shape


def _unique_consecutive(
    r: Rewrite, x: Node, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> dict[int, Node]:  # fmt: skip
    shape = x.meta["val"].shape
    if dim is None:
        x, axis = r.flat(x), 0
        rows = x
    else:
        axis = dim % len(shape) if shape else 0
        rows = rows_of(r, x, axis)
    found = Groups(r, rows)
    inverse = found.number
    if dim is None:
        inverse = r("reshape.default", inverse, [r.size(n) for n in shape])
    return found.results(x, axis, inverse if return_inverse else None, return_counts)


def _is_sortable(x: Node, *_: Any, **__: Any) -> bool:
    shape = x.meta["val"].shape
    is_fixed = 0 not in shape and all(isinstance(n, int) for n in shape)
    return is_fixed and bool(math.prod(shape) <= SORTED)


def _unique(
    r: Rewrite, x: Node, _sorted: bool = True, return_inverse: bool = False,
    return_counts: bool = False,
) -> dict[int, Node]:  # fmt: skip
    shape = x.meta["val"].shape
    pair = r("sort.default", r.flat(x), 0, False)
    values, order = r.part(pair, 0), r.part(pair, 1)
    found = Groups(r, values)
    inverse = r("scatter.src", r("zeros_like.default", order), 0, order, found.number)
    shaped = r("reshape.default", inverse, list(shape))
    return found.results(values, 0, shaped if return_inverse else None, return_counts)


def _is_comparable(x: Node, dim: int, *_: Any, **__: Any) -> bool:
    shape = x.meta["val"].shape
    if not shape or 0 in shape or not all(isinstance(n, int) for n in shape):
        return False
    return bool(shape[dim % len(shape)] * math.prod(shape) <= PAIRS)


def _unique_dim(
    r: Rewrite, x: Node, dim: int, _sorted: bool = True, return_inverse: bool = False,
    return_counts: bool = False,
) -> dict[int, Node]:  # fmt: skip
    shape = x.meta["val"].shape
    axis = dim % len(shape)
    rank = rank_of(r, rows_of(r, x, axis))
    order = r("scatter.src", r("zeros_like.default", rank), 0, rank, r.writer.arange(shape[axis]))
    ordered = r("index_select.default", x, axis, order)
    found = Groups(r, rows_of(r, ordered, axis))
    inverse = r("index_select.default", found.number, 0, rank)
    return found.results(ordered, axis, inverse if return_inverse else None, return_counts)


@dataclass(frozen=True)
class Rule:
    """How one operator is rewritten: `takes(*arguments)` says whether it can be; `write` returns what
    replaces its result, or its results by index."""

    takes: Callable[..., bool]
    write: Callable[..., Node | dict[int, Node]]


RULES: dict[Any, Rule] = {
    aten.nonzero.default: Rule(_has_fixed_rows, _nonzero),
    aten.argwhere.default: Rule(_has_fixed_rows, _nonzero),
    aten.unbind.int: Rule(_is_columns, _unbind),
    aten.masked_select.default: Rule(_has_elements, _masked_select),
    aten.index.Tensor: Rule(_is_masked, _index),
    aten.unique_consecutive.default: Rule(_is_not_empty, _unique_consecutive),
    aten._unique2.default: Rule(_is_sortable, _unique),
    aten.unique_dim.default: Rule(_is_comparable, _unique_dim),
}

BOUND_SIZES = Pass(
    name="bound_sizes",
    requires=(functional, no_assertions),
    ensures=(sizes_bounded,),
    run=_bound_sizes,
)
