"""Split a graph between an engine and torch: maximal acyclic segments, and a reason for each node
that stays in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compiler.convert.registry import Refusal
from compiler.partition.cuts import cuts
from compiler.partition.report import Kept, PartitionRefused, PartitionReport, SegmentSummary
from compiler.partition.segments import SegmentGraph
from compiler.partition.select import executed_in_torch
from compiler.partition.settle import Work, is_compute
from compiler.partition.sizes import Sizes
from enginebundle.format.graph import Graph, Node

__all__ = [
    "Kept",
    "Partition",
    "PartitionOptions",
    "PartitionRefused",
    "PartitionReport",
    "SegmentGraph",
    "is_compute",
    "partition",
]


@dataclass(frozen=True, slots=True)
class PartitionOptions:
    """What the user may ask of a partition."""

    torch_executed_modules: tuple[str, ...] = ()
    """Modules kept in torch: paths, class names or globs, each with everything below it."""
    torch_executed_ops: tuple[str, ...] = ()
    """Operators kept in torch: overloads, packets or globs."""
    min_nodes: int = 1
    """An engine segment with fewer compute nodes runs in torch instead."""
    require_full_compilation: bool = False
    """Raise PartitionRefused if anything would stay in torch."""


@dataclass(frozen=True, slots=True)
class Partition:
    """Segments in execution order; the graph's outputs are the values named by `returns`: graph
    inputs or segment outputs."""

    segments: tuple[SegmentGraph, ...]
    returns: tuple[str, ...]
    report: PartitionReport


def partition(
    graph: Graph,
    refuse: Callable[[Node], Refusal | None],
    options: PartitionOptions = PartitionOptions(),
) -> Partition:
    """Split `graph` into as few engine segments as acyclicity allows, with torch segments between.

    `refuse(node)` gives the reason why an engine can't run a node, or None. It is called for size
    arithmetic too: if a size is refused, the nodes that read it stay in torch. Nodes that no output
    needs are dropped. Raises PartitionRefused if a pattern matches nothing, if the graph returns a
    bare size, or if `require_full_compilation` can't be met.
    """
    chosen = executed_in_torch(graph, options.torch_executed_modules, options.torch_executed_ops)
    sizes = Sizes.of(graph, refuse)
    for name in graph.returns:
        if name in sizes.producer:
            raise PartitionRefused(
                "size_returned",
                f"expected tensors as outputs, got {name}, a bare size",
                "return it as a tensor, for example torch.scalar_tensor(size)",
            )
    work = Work(graph, sizes)
    reasons = {
        position: reason
        for position, index in enumerate(work.live)
        if (reason := chosen.get(index) or _reason(graph.nodes[index], sizes, refuse))
    }
    segments = work.settle(reasons, options.min_nodes)
    kept = _kept(graph, work.live, reasons, sizes)
    if options.require_full_compilation:
        _require_full(kept)
    summaries = tuple(_summary(segment) for segment in segments)
    return Partition(segments, graph.returns, PartitionReport(summaries, kept))


def _reason(node: Node, sizes: Sizes, refuse: Callable[[Node], Refusal | None]) -> Refusal | None:
    """Why a node can't be in an engine: its own refusal, or that of a size it reads."""
    refusal = refuse(node)
    if refusal is not None:
        return refusal
    for name in node.inputs():
        if name in sizes.blocked:
            cause = sizes.blocked[name]
            return Refusal(cause.code, f"it reads a size: {cause.detail}", cause.remedy)
    return None


def _kept(
    graph: Graph, live: Sequence[int], reasons: dict[int, Refusal], sizes: Sizes
) -> tuple[Kept, ...]:
    """Entries in graph order, including the numbers read from data that the nodes need."""
    why = {live[place]: reason for place, reason in reasons.items()}
    needed = sizes.needed((graph.nodes[index] for index in live), graph)
    for index in needed - set(live):
        node = graph.nodes[index]
        # Only the first of a chain: the rest is arithmetic with the same cause.
        if node.name in sizes.blocked and not any(n in sizes.blocked for n in node.inputs()):
            why[index] = sizes.blocked[node.name]
    names = {node.name: index for index, node in enumerate(graph.nodes)}
    for name, reason in cuts(graph).items():
        index = names[name]
        if index in why and why[index].code == "data_dependent_size":
            why[index] = reason
    return tuple(
        Kept(node.name, node.op, is_compute(node), node.origin, why[index])
        for index, node in enumerate(graph.nodes)
        if index in why
    )


def _require_full(kept: Sequence[Kept]) -> None:
    # A view dropped from a segment that computes nothing does not count as work left over.
    left = [k for k in kept if k.compute or k.reason.code not in ("too_small", "constant")]
    if left:
        first = left[0]
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise PartitionRefused(
            "not_fully_compiled",
            f"expected every node in an engine, got {first.node} ({first.op}) at {first.origin}"
            f"{more} kept in torch: {first.reason.code}: {first.reason.detail}",
            f"{first.reason.remedy}; or drop require_full_compilation",
        )


def _summary(segment: SegmentGraph) -> SegmentSummary:
    graph = segment.graph
    nodes = sum(any(v.is_tensor for v in node.outputs) for node in graph.nodes)
    return SegmentSummary(segment.kind, nodes, tuple(t.name for t in graph.inputs), graph.returns)
