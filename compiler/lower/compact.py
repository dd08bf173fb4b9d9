"""Moves the valid elements to the front of a tensor of fixed size, and counts them."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.lower.strides import SizeWriter
from compiler.lower.writer import Writer

aten = torch.ops.aten
Node = torch.fx.Node


class Rewrite:
    """Writes calls before a node; sizes are numbers, or nodes where they are dynamic."""

    def __init__(self, exported: ExportedProgram, node: Node) -> None:
        self.writer = Writer(exported, node)
        self.sizes = SizeWriter(self.writer)

    def __call__(self, name: str, /, *args: Any, **kwargs: Any) -> Node:
        packet, overload = name.split(".")
        return self.writer.call(getattr(getattr(aten, packet), overload), *args, **kwargs)

    def part(self, node: Node, index: int) -> Node:
        return self.writer.call(operator.getitem, node, index)

    def size(self, size: int | torch.SymInt) -> int | Node:
        found = self.sizes.number(size)
        assert found is not None, "a size that does not follow from the inputs' sizes"
        return found

    def flat(self, x: Node) -> Node:
        return self("reshape.default", x, [-1])

    def compact(self, flags: Node) -> tuple[Node, Node, int | torch.SymInt]:
        """The places of true flags, bool [n], as int64 [n] padded with n; their count; and n."""
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
        """The first elements along an axis; `size` is an integer, a SymInt or a node."""
        end = size if isinstance(size, Node) else self.size(size)
        return self("slice.Tensor", x, axis, 0, end)

    def take(self, x: Node, axis: int, places: Node) -> Node:
        """x at places [n]; places past the end give its last element."""
        last = self.size(x.meta["val"].shape[axis] - 1)
        bound = self("full.default", [], last, dtype=torch.int64)
        return self("index_select.default", x, axis, self("minimum.default", places, bound))


def rows_of(r: Rewrite, x: Node, axis: int) -> Node:
    """[size of the axis, the rest]."""
    rank = x.meta["val"].ndim
    turned = r("permute.default", x, [axis, *(i for i in range(rank) if i != axis)])
    return r("reshape.default", turned, [r.size(x.meta["val"].shape[axis]), -1])


def rank_of(r: Rewrite, rows: Node) -> Node:
    """The place of each of the rows [n, m] in lexicographic order; equal rows keep their order."""
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


class Groups:
    """Runs of equal neighbours in [n] or rows [n, m]: where each starts, and each one's number."""

    def __init__(self, r: Rewrite, rows: Node) -> None:
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
        """The results of aten's unique operators, by index: values of x, inverse and counts."""
        r = self.r
        none = r("full.default", [0], 0, dtype=torch.int64)
        lengths = none
        if counts:
            end = r("full.default", [1], r.size(self.n), dtype=torch.int64)
            ends = r("cat.default", [r("slice.Tensor", self.starts, 0, 1, r.size(self.n)), end])
            lengths = r.first(r("sub.Tensor", ends, self.starts), 0, self.count)
        values = r.first(r.take(x, axis, self.starts), axis, self.count)
        return {0: values, 1: none if inverse is None else inverse, 2: lengths}
