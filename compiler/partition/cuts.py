"""The last step of a result whose size depends on data, as compiler/lower/bound_sizes.py writes it.

cuts(graph) -> {node name: Refusal}     size reads and the slices up to that size, where they
                                        only cut what the graph returns
"""

from __future__ import annotations

from collections import defaultdict

from compiler.convert.registry import Refusal
from enginebundle.format.graph import Graph, Node, Ref

READ, SLICE = "aten._local_scalar_dense.default", "aten.slice.Tensor"
CUT = Refusal(
    "cut",
    "the size of a result depends on data: the engine computes the result at its largest size, and how "
    "many of its elements count; torch reads that number and cuts the result",
    "none needed; a result of fixed size (torch.nonzero_static, torch.where) would avoid the step",
)


def cuts(graph: Graph) -> dict[str, Refusal]:
    """Why these nodes stay in torch; a read whose number has any other use is left out."""
    readers: dict[str, list[Node]] = defaultdict(list)
    for node in graph.nodes:
        for name in node.inputs():
            readers[name].append(node)
    found: dict[str, Refusal] = {}
    for node in graph.nodes:
        if node.op == READ and all(_cuts(reader, node, graph) for reader in readers[node.name]):
            found |= dict.fromkeys([node.name, *(r.name for r in readers[node.name])], CUT)
    return found


def _cuts(node: Node, read: Node, graph: Graph) -> bool:
    if node.op != SLICE or node.name not in graph.returns or len(node.args) != 4:
        return False
    return node.args[2:] == (0, Ref(read.name)) and not node.kwargs
