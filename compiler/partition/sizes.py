"""Arithmetic on sizes: never passed between segments, but computed in each one that reads it.

A size is a host integer, so carrying it between runtimes would cost a device round trip, and an
engine has no scalar outputs. Computing it is cheap: each segment gets its own copy, which starts
from the shapes of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, replace

from compiler.convert.registry import Refusal
from enginebundle.format import dims
from enginebundle.format.dims import Dim
from enginebundle.format.graph import Graph, Node, Ref

SIZE = "aten.sym_size.int"
_FROM_SHAPE = (
    SIZE,
    "aten.sym_numel.default",
    "aten.sym_stride.int",
    "aten.sym_storage_offset.default",
)


def is_arithmetic(node: Node) -> bool:
    """Whether a node computes sizes from shapes alone, and so does not count as work."""
    return node.op.startswith("sym.") or node.op in _FROM_SHAPE


@dataclass(frozen=True)
class Sizes:
    """Where each size of a graph comes from. Made by `Sizes.of`."""

    producer: Mapping[str, int]
    """Index of the node behind each scalar value."""
    shapes: Mapping[str, tuple[Dim, ...]]
    """Shape of every tensor value, inputs and weights included."""
    leaves: Mapping[str, frozenset[str]]
    """Tensors that a scalar value needs, beyond the graph's inputs and weights."""
    blocked: Mapping[str, Refusal]
    """Scalar values that no engine can compute."""
    order: Mapping[str, int]
    """Position of every tensor value."""
    of_input: Mapping[Dim, tuple[str, int]]
    """A graph input and dimension for each dimension expression that some graph input has."""

    @classmethod
    def of(cls, graph: Graph, refuse: Callable[[Node], Refusal | None]) -> Sizes:
        """Analyse a graph; `refuse` says which arithmetic an engine can't do."""
        shapes = {t.name: t.shape for t in graph.inputs} | {
            w.name: w.spec.shape for w in graph.weights
        }
        given = frozenset(shapes)
        producer: dict[str, int] = {}
        leaves: dict[str, frozenset[str]] = {}
        blocked: dict[str, Refusal] = {}
        order = {name: place for place, name in enumerate(shapes)}
        sizes = cls(producer, shapes, leaves, blocked, order, _dimensions(graph))
        for index, node in enumerate(graph.nodes):
            scalars = [v for v in node.outputs if not v.is_tensor and v.dtype != "none"]
            for value in node.outputs:
                if value.is_tensor:
                    shapes[value.name] = value.shape
                    order[value.name] = len(order)
            if not scalars:
                continue
            if node.op == SIZE:
                node = sizes.reseat(node, {}, given)
            found: set[str] = set()
            for name in node.inputs():
                found |= leaves[name] if name in producer else {name} - given
            reason = _blocked(node, refuse, blocked)
            for value in scalars:
                producer[value.name] = index
                leaves[value.name] = frozenset(found)
                if reason is not None:
                    blocked[value.name] = reason
        return sizes

    def ordered(self, tensors: Iterable[str]) -> list[str]:
        """Tensors in the order in which the graph makes them."""
        return sorted(tensors, key=self.order.__getitem__)

    def needed(self, nodes: Iterable[Node], graph: Graph) -> set[int]:
        """Indices of the scalar nodes that compute every size that `nodes` read."""
        found: set[int] = set()
        waiting = [name for node in nodes for name in node.inputs()]
        while waiting:
            index = self.producer.get(waiting.pop())
            if index is not None and index not in found:
                found.add(index)
                waiting += graph.nodes[index].inputs()
        return found

    def reseat(self, node: Node, have: Mapping[Dim, tuple[str, int]], kept: Set[str]) -> Node:
        """The size node, reading an equal size of a tensor in reach if there is one.

        `kept` are tensors that may be read as they are; `have` gives a tensor and dimension for
        each dimension expression in reach. Graph inputs come next: they are always available.
        """
        (source,) = node.inputs()
        if source in kept:
            return node
        size = self.shapes[source][_axis(node, self.shapes)]
        other = have.get(size) or self.of_input.get(size)
        return node if other is None else replace(node, args=(Ref(other[0]), other[1]), kwargs=())


def _axis(node: Node, shapes: Mapping[str, tuple[Dim, ...]]) -> int:
    axis = node.args[1] if len(node.args) > 1 else dict(node.kwargs)["dim"]
    if not isinstance(axis, int):
        raise TypeError(f"{node.name} ({node.op}): expected a dimension number, got {axis!r}")
    return axis


def _dimensions(graph: Graph) -> dict[Dim, tuple[str, int]]:
    found: dict[Dim, tuple[str, int]] = {}
    for spec in graph.inputs:
        for axis, dim in enumerate(spec.shape):
            found.setdefault(dim, (spec.name, axis))
    return found


def _blocked(
    node: Node, refuse: Callable[[Node], Refusal | None], blocked: Mapping[str, Refusal]
) -> Refusal | None:
    """Why no engine can compute a scalar node, or None. In a chain, the first cause counts."""
    for name in node.inputs():
        if name in blocked:
            return blocked[name]
    if is_arithmetic(node):
        return refuse(node)
    return Refusal(
        "data_dependent_size",
        f"expected a size computed from shapes, got {node.op}, a number read from a tensor's data "
        f"({node.name})",
        "pass the number as a shape or compute it outside the model",
    )


def known_symbols(graph: Graph) -> frozenset[str]:
    """Symbols that have a range: those that the graph's inputs mention."""
    return frozenset(s for t in graph.inputs for d in t.shape for s in dims.symbols_of(d))
