"""Cut a graph into segments, each a graph of its own, from groups of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compiler.partition.grow import Members
from compiler.partition.sizes import SIZE, Sizes
from enginebundle.format.dims import Dim
from enginebundle.format.graph import Graph, Node
from enginebundle.format.spec import TensorSpec
from enginebundle.format.variant import SegmentKind


@dataclass(frozen=True, slots=True)
class SegmentGraph:
    """What one runtime executes. Values keep their names; inputs are graph inputs or values of
    earlier segments, outputs are what later segments read or the whole graph returns."""

    kind: SegmentKind
    graph: Graph

    def tensor_nodes(self) -> tuple[str, ...]:
        """The names of the nodes that compute tensors; the others compute sizes."""
        return tuple(node.name for node in self.graph.nodes if node.outputs[0].is_tensor)


def cut(graph: Graph, groups: Sequence[Members], sizes: Sizes) -> tuple[SegmentGraph, ...]:
    """One segment for each group, in the groups' order (which must be an execution order).

    Members are indices of nodes of `graph` that have tensor outputs; the size arithmetic that they
    need is added to each. A weight that the graph returns has no node behind it, so the first torch
    segment, or one made for it, carries it.
    """
    specs = {t.name: t for t in graph.inputs}
    for node in graph.nodes:
        for v in node.outputs:
            if v.is_tensor:
                specs[v.name] = TensorSpec(v.name, v.dtype, v.shape)
    bodies = [_body(graph, group, sizes) for group in groups]
    weights = {w.name: w for w in graph.weights}
    read = [_outside(body) for body in bodies]
    wanted = set(graph.returns).union(*read)
    segments = []
    for group, body, names in zip(groups, bodies, read, strict=True):
        own = set(group.nodes)
        made = [
            specs[value.name]
            for index, node in body
            if index in own
            for value in node.outputs
            if value.name in wanted and value.is_tensor
        ]
        part = Graph(
            tuple(specs[name] for name in sizes.ordered(names) if name in specs),
            tuple(weights[name] for name in sizes.ordered(names) if name in weights),
            tuple(node for _, node in body),
            tuple(made),
            tuple(spec.name for spec in made),
        )
        segments.append(SegmentGraph("engine" if group.engine else "torch_graph", part))
    return _carry(tuple(segments), graph)


def _body(graph: Graph, group: Members, sizes: Sizes) -> list[tuple[int, Node]]:
    """The group's nodes and the size arithmetic they need, in execution order."""
    own = [graph.nodes[index] for index in group.nodes]
    extra = sizes.needed(own, graph)
    made = {value.name for node in own for value in node.outputs}
    direct = [node for i in extra if (node := graph.nodes[i]).op != SIZE]
    read = {name for node in [*own, *direct] for name in node.inputs() if name in sizes.shapes}
    have: dict[Dim, tuple[str, int]] = {}
    for name in sizes.ordered(read - made):
        for axis, dim in enumerate(sizes.shapes[name]):
            have.setdefault(dim, (name, axis))
    body = []
    for index in sorted(extra.union(group.nodes)):
        node = graph.nodes[index]
        body.append((index, sizes.reseat(node, have, read | made) if node.op == SIZE else node))
    return body


def _outside(body: Sequence[tuple[int, Node]]) -> set[str]:
    made = {value.name for _, node in body for value in node.outputs}
    return {name for _, node in body for name in node.inputs()} - made


def _carry(segments: tuple[SegmentGraph, ...], graph: Graph) -> tuple[SegmentGraph, ...]:
    """Make a torch segment output the weights that the graph returns."""
    returned = [w for w in graph.weights if w.name in graph.returns]
    if not returned:
        return segments
    place = next((i for i, s in enumerate(segments) if s.kind == "torch_graph"), None)
    if place is None:
        segments, place = (
            (*segments, SegmentGraph("torch_graph", Graph((), (), (), (), ()))),
            len(segments),
        )
    old = segments[place].graph
    new = Graph(
        old.inputs,
        old.weights + tuple(w for w in returned if w not in old.weights),
        old.nodes,
        old.outputs + tuple(w.spec for w in returned),
        old.returns + tuple(w.name for w in returned),
    )
    return (*segments[:place], SegmentGraph("torch_graph", new), *segments[place + 1 :])
