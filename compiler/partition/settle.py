"""Which segments to keep: grow groups, give up engines that are not worth it, grow again."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.convert.registry import Refusal
from compiler.partition.grow import Members, grow
from compiler.partition.segments import SegmentGraph, cut
from compiler.partition.sizes import Sizes, known_symbols
from compiler.trace.names import packet
from enginebundle.format import dims
from enginebundle.format.graph import Graph, Node
from enginebundle.format.spec import TensorSpec

_RELABEL = frozenset(
    "aten." + name
    for name in (
        "view", "_unsafe_view", "view_as", "reshape", "_reshape_alias", "squeeze", "unsqueeze",
        "permute", "transpose", "t", "expand", "expand_as", "flatten", "unflatten", "alias",
        "detach", "clone", "contiguous", "lift_fresh_copy", "movedim",
    )
)  # fmt: skip


def is_compute(node: Node) -> bool:
    """Whether a node does work: it makes a tensor, not just a new shape for an old one."""
    return any(v.is_tensor for v in node.outputs) and packet(node.op) not in _RELABEL


class Work:
    """The graph's live tensor nodes, by position, and which of them each reads."""

    def __init__(self, graph: Graph, sizes: Sizes) -> None:
        self.graph = graph
        self.sizes = sizes
        self.symbols = known_symbols(graph)
        self.live = _live(graph)
        position: dict[str, int] = {}
        self.reads: list[tuple[int, ...]] = []
        for place, index in enumerate(self.live):
            node = graph.nodes[index]
            tensors: set[str] = set()
            for name in node.inputs():
                tensors |= sizes.leaves.get(name, {name})
            self.reads.append(tuple(sorted({position[t] for t in tensors if t in position})))
            position.update((v.name, place) for v in node.outputs if v.is_tensor)

    def settle(self, reasons: dict[int, Refusal], min_nodes: int) -> tuple[SegmentGraph, ...]:
        """The segments, once every engine is worth keeping; adds nodes given up to `reasons`."""
        while True:
            groups = grow(self.reads, [place not in reasons for place in range(len(self.live))])
            indices = [Members(g.engine, tuple(self.live[p] for p in g.nodes)) for g in groups]
            segments = cut(self.graph, indices, self.sizes)
            before = len(reasons)
            for group, segment in zip(groups, segments, strict=False):
                if group.engine:
                    reasons |= self._given_up(group.nodes, segment, min_nodes)
            if len(reasons) == before:
                return segments

    def _given_up(
        self, places: Sequence[int], segment: SegmentGraph, min_nodes: int
    ) -> dict[int, Refusal]:
        count = sum(is_compute(self.graph.nodes[self.live[place]]) for place in places)
        if not segment.graph.inputs:
            return dict.fromkeys(places, _CONSTANT)
        if count < min_nodes:
            return dict.fromkeys(places, _too_small(count, min_nodes))
        unbounded = [spec for spec in segment.graph.inputs if self._unbounded(spec)]
        if not unbounded:
            return {}
        # Their readers leave, and so does all in this group that would read such a size from torch.
        reason = _no_range(unbounded[0], self.symbols)
        names = {spec.name for spec in unbounded}
        found: dict[int, Refusal] = {}
        for place in places:
            node = self.graph.nodes[self.live[place]]
            tensors = set[str]().union(
                *(self.sizes.leaves.get(name, {name}) for name in node.inputs())
            )
            if tensors & names:
                found[place] = reason
                names |= {
                    v.name
                    for v in node.outputs
                    if v.is_tensor and self._unbounded(TensorSpec(v.name, v.dtype, v.shape))
                }
        return found

    def _unbounded(self, spec: TensorSpec) -> bool:
        return any(dims.symbols_of(dim) - self.symbols for dim in spec.shape)


def _live(graph: Graph) -> list[int]:
    """Indices of the nodes with tensor outputs that some output needs, in order."""
    needed = set(graph.returns)
    live = []
    for index in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[index]
        if any(value.name in needed for value in node.outputs):
            needed.update(node.inputs())
            if any(value.is_tensor for value in node.outputs):
                live.append(index)
    return live[::-1]


_CONSTANT = Refusal(
    "constant",
    "expected an engine segment that reads a tensor, got one that reads only constants",
    "none needed: torch computes it once per call",
)


def _too_small(count: int, min_nodes: int) -> Refusal:
    return Refusal(
        "too_small",
        f"expected an engine segment of at least {min_nodes} compute nodes, got {count}",
        "set min_nodes lower, or make the nodes around it convertible",
    )


def _no_range(spec: TensorSpec, symbols: frozenset[str]) -> Refusal:
    return Refusal(
        "unbounded_size",
        f"expected sizes over {', '.join(sorted(symbols)) or 'no symbols'}, which have ranges, got "
        f"{spec.name} of shape {list(spec.shape)}, whose size is known only from data",
        "bound the size in the model, for example by padding to a fixed length",
    )
