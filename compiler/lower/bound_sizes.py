"""Results whose size data decide, computed at their largest size and cut at the end.

No result of a TensorRT-RTX engine may have such a size. But the elements of `nonzero`, `unique` or a
mask are at most as many as those of the input: an engine gives that many, and how many of them count;
a last step, in torch, reads the number and cuts. Only results of the model are rewritten so. What
works on in the model with such a size stays in torch, and so does what comes before it here.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.lower.passes import Options, Pass
from compiler.lower.strides import Sizes
from compiler.lower.writer import Writer

aten = torch.ops.aten

Node = torch.fx.Node
PAIRS = 1 << 20
"""Comparisons of one element with another that sorting rows may take."""
SORTED = 3840
"""Elements that TensorRT sorts at most; more of them torch sorts, and finds the unique ones faster."""


def _bound_sizes(exported: ExportedProgram, _: Options) -> ExportedProgram:
    for node in list(exported.graph.nodes):
        rule = RULES.get(node.target)
        if rule is None or not _is_result(node):
            continue
        made = rule(_Rewrite(exported, node), *node.args, **node.kwargs)
        if isinstance(made, Node):
            node.replace_all_uses_with(made)
        elif made is not None:
            for user in list(node.users):
                user.replace_all_uses_with(made[user.args[1]])
    return exported


def _is_result(node: Node) -> bool:
    """Whether nothing reads the node, or its parts, but the model's output."""
    several = isinstance(node.meta["val"], tuple | list)
    parts = list(node.users) if several else [node]
    if several and any(part.target is not operator.getitem for part in parts):
        return False
    return all(user.op == "output" for part in parts for user in part.users)


class _Rewrite:
    """Writes before a node; sizes are numbers, or nodes where they are dynamic."""

    def __init__(self, exported: ExportedProgram, node: Node) -> None:
        self.writer = Writer(exported, node)
        self.sizes = Sizes(self.writer)

    def __call__(self, name: str, /, *args: Any, **kwargs: Any) -> Node:
        packet, overload = name.split(".")
        return self.writer.call(getattr(getattr(aten, packet), overload), *args, **kwargs)

    def part(self, node: Node, index: int) -> Node:
        return self.writer.call(operator.getitem, node, index)

    def size(self, size: int | torch.SymInt) -> int | Node:
        found = self.sizes.number(size)
        assert found is not None, "a size that no input's sizes give"
        return found

    def flat(self, x: Node) -> Node:
        return self("reshape.default", x, [-1])

    def compact(self, flags: Node) -> tuple[Node, Node, int | torch.SymInt]:
        """Where bool flags [n] hold: int64 [n], n itself after the last; how many; and n."""
        n = flags.meta["val"].shape[0]
        end = self("full.default", [], self.size(n), dtype=torch.int64)
        place = self("sub.Tensor", self("cumsum.default", flags, 0), 1)
        target = self("where.self", flags, place, end)
        base = self("full.default", [self.size(n + 1)], self.size(n), dtype=torch.int64)
        found = self("scatter.src", base, 0, target, self.writer.arange(self.size(n)))
        return self.first(found, 0, n), self.number(self("sum.default", flags), n), n

    def number(self, count: Node, most: int | torch.SymInt) -> Node:
        """A count, read on the host."""
        read = self("_local_scalar_dense.default", count)
        torch._check(read.meta["val"] >= 0)  # type: ignore[no-untyped-call]
        torch._check(read.meta["val"] <= most)  # type: ignore[no-untyped-call]
        return read

    def first(self, x: Node, axis: int, size: Any) -> Node:
        """The first elements along an axis; `size` is a number of any kind, or a node."""
        end = size if isinstance(size, Node) else self.size(size)
        return self("slice.Tensor", x, axis, 0, end)

    def take(self, x: Node, axis: int, places: Node) -> Node:
        """x at places [n], of which those past the end give its last element."""
        last = self.size(x.meta["val"].shape[axis] - 1)
        bound = self("full.default", [], last, dtype=torch.int64)
        return self("index_select.default", x, axis, self("minimum.default", places, bound))


def _nonzero(r: _Rewrite, x: Node) -> Node | None:
    found = _coordinates(r, x)
    return None if found is None else r.first(r("stack.default", found[0], 1), 0, found[1])


def _unbind(r: _Rewrite, x: Node, dim: int = 0) -> dict[int, Node] | None:
    """The columns of `nonzero`: torch.nonzero(as_tuple=True), and torch.where of a condition alone."""
    if x.target is not aten.nonzero.default or dim != 1 or len(x.users) > 1:
        return None
    found = _coordinates(r, x.args[0])
    if found is None:
        return None
    return {i: r.first(column, 0, found[1]) for i, column in enumerate(found[0])}


def _coordinates(r: _Rewrite, x: Any) -> tuple[list[Node], Node] | None:
    """A column for each dim of x, and how many of its elements count."""
    shape = x.meta["val"].shape
    if not shape or not all(isinstance(n, int) for n in shape[1:]) or 0 in shape:
        return None
    held = x if x.meta["val"].dtype == torch.bool else r("ne.Scalar", x, 0)
    places, count, _ = r.compact(r.flat(held))
    columns = []
    for axis in range(len(shape)):
        inner = math.prod(int(n) for n in shape[axis + 1 :])
        column = r("div.Tensor_mode", places, inner, rounding_mode="floor") if inner > 1 else places
        columns.append(r("remainder.Scalar", column, int(shape[axis])) if axis else column)
    return columns, count


def _masked_select(r: _Rewrite, x: Node, mask: Node) -> Node | None:
    shape = torch.broadcast_shapes(x.meta["val"].shape, mask.meta["val"].shape)  # type: ignore[no-untyped-call]
    if not shape or 0 in shape:
        return None
    sizes = [r.size(n) for n in shape]
    places, count, _ = r.compact(r.flat(r("expand.default", mask, sizes)))
    return r.first(r.take(r.flat(r("expand.default", x, sizes)), 0, places), 0, count)


def _index(r: _Rewrite, x: Node, indices: list[Node | None]) -> Node | None:
    if len(indices) != 1 or indices[0] is None:
        return None
    mask, shape = indices[0].meta["val"], x.meta["val"].shape
    if mask.dtype != torch.bool or not mask.ndim or 0 in shape:
        return None
    rows = r("reshape.default", x, [-1, *(r.size(n) for n in shape[mask.ndim :])])
    places, count, _ = r.compact(r.flat(indices[0]))
    return r.first(r.take(rows, 0, places), 0, count)


def _unique_consecutive(
    r: _Rewrite, x: Node, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> dict[int, Node] | None:  # fmt: skip
    shape = x.meta["val"].shape
    if 0 in shape:
        return None
    if dim is None:
        x, axis = r.flat(x), 0
        rows = x
    else:
        axis = dim % len(shape) if shape else 0
        rows = _rows(r, x, axis)
    found = _Groups(r, rows)
    inverse = found.number
    if dim is None:
        inverse = r("reshape.default", inverse, [r.size(n) for n in shape])
    return found.results(x, axis, inverse if return_inverse else None, return_counts)


def _unique(
    r: _Rewrite, x: Node, _sorted: bool = True, return_inverse: bool = False,
    return_counts: bool = False,
) -> dict[int, Node] | None:  # fmt: skip
    shape = x.meta["val"].shape
    if 0 in shape or not all(isinstance(n, int) for n in shape) or math.prod(shape) > SORTED:
        return None
    pair = r("sort.default", r.flat(x), 0, False)
    values, order = r.part(pair, 0), r.part(pair, 1)
    found = _Groups(r, values)
    inverse = r("scatter.src", r("zeros_like.default", order), 0, order, found.number)
    shaped = r("reshape.default", inverse, list(shape))
    return found.results(values, 0, shaped if return_inverse else None, return_counts)


def _unique_dim(
    r: _Rewrite, x: Node, dim: int, _sorted: bool = True, return_inverse: bool = False,
    return_counts: bool = False,
) -> dict[int, Node] | None:  # fmt: skip
    shape = x.meta["val"].shape
    if not shape or 0 in shape or not all(isinstance(n, int) for n in shape):
        return None
    axis = dim % len(shape)
    if shape[axis] * math.prod(shape) > PAIRS:
        return None
    rank = _rank(r, _rows(r, x, axis))
    order = r("scatter.src", r("zeros_like.default", rank), 0, rank, r.writer.arange(shape[axis]))
    ordered = r("index_select.default", x, axis, order)
    found = _Groups(r, _rows(r, ordered, axis))
    inverse = r("index_select.default", found.number, 0, rank)
    return found.results(ordered, axis, inverse if return_inverse else None, return_counts)


def _rows(r: _Rewrite, x: Node, axis: int) -> Node:
    """[size of the axis, the rest]."""
    rank = x.meta["val"].ndim
    turned = r("permute.default", x, [axis, *(i for i in range(rank) if i != axis)])
    return r("reshape.default", turned, [r.size(x.meta["val"].shape[axis]), -1])


def _rank(r: _Rewrite, rows: Node) -> Node:
    """The place of each of the rows [n, m] in lexicographic order; of equal ones the first is first."""
    n = rows.meta["val"].shape[0]
    here, there = r("unsqueeze.default", rows, 1), r("unsqueeze.default", rows, 0)
    differ = r("ne.Tensor", here, there)
    so_far = r("cumsum.default", differ, 2)
    first = r("logical_and.default", differ, r("eq.Scalar", so_far, 1))
    below = r("any.dim", r("logical_and.default", first, r("lt.Tensor", there, here)), 2)
    same = r("logical_not.default", r("any.dim", differ, 2))
    places = r.writer.arange(n)
    earlier = r("lt.Tensor", r("unsqueeze.default", places, 0), r("unsqueeze.default", places, 1))
    before = r("logical_or.default", below, r("logical_and.default", same, earlier))
    return r("sum.dim_IntList", before, [1])


class _Groups:
    """Runs of equal neighbours in [n] or rows [n, m]: where each starts, and each one's number."""

    def __init__(self, r: _Rewrite, rows: Node) -> None:
        self.r = r
        n = rows.meta["val"].shape[0]
        later = r("slice.Tensor", rows, 0, 1, r.size(n))
        changed = r("ne.Tensor", later, r.first(rows, 0, n - 1))
        if rows.meta["val"].ndim > 1:
            changed = r("any.dim", changed, 1)
        flags = r("cat.default", [r("full.default", [1], True, dtype=torch.bool), changed])
        self.starts, self.count, self.n = r.compact(flags)
        self.number = r("sub.Tensor", r("cumsum.default", flags, 0), 1)

    def results(self, x: Node, axis: int, inverse: Node | None, counts: bool) -> dict[int, Node]:
        """What aten's unique operators give, by its place: values of x, inverse and counts."""
        r = self.r
        none = r("full.default", [0], 0, dtype=torch.int64)
        lengths = none
        if counts:
            end = r("full.default", [1], r.size(self.n), dtype=torch.int64)
            ends = r("cat.default", [r("slice.Tensor", self.starts, 0, 1, r.size(self.n)), end])
            lengths = r.first(r("sub.Tensor", ends, self.starts), 0, self.count)
        values = r.first(r.take(x, axis, self.starts), axis, self.count)
        return {0: values, 1: none if inverse is None else inverse, 2: lengths}


RULES: dict[Any, Callable[..., Node | dict[int, Node] | None]] = {
    aten.nonzero.default: _nonzero,
    aten.argwhere.default: _nonzero,
    aten.unbind.int: _unbind,
    aten.masked_select.default: _masked_select,
    aten.index.Tensor: _index,
    aten.unique_consecutive.default: _unique_consecutive,
    aten._unique2.default: _unique,
    aten.unique_dim.default: _unique_dim,
}
"""Each gives what replaces the operator's result, or its results by their place; None leaves it."""

BOUND_SIZES = Pass(
    name="bound_sizes",
    requires="no assertions",
    ensures="results whose size data decide are cut from ones of a size that shapes decide",
    run=_bound_sizes,
)
