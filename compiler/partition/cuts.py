"""The last step of a result whose size data decide, as compiler/lower/bound_sizes.py writes it.

cuts(graph) -> {node name: Refusal}     the reads of a size, and the slices up to it, that only
                                        cut what the graph returns
"""

from __future__ import annotations

from collections import defaultdict

from compiler.convert.registry import Refusal
from enginebundle.format.graph import Graph, Node, Ref

READ, SLICE = "aten._local_scalar_dense.default", "aten.slice.Tensor"
CUT = Refusal(
    "cut",
    "data decide the size of a result: the engine computes it at its largest size, and how many of its "
    "elements count; torch reads that number and cuts",
    "none is needed; a result of fixed size (torch.nonzero_static, torch.where) would spare the step",
)


def cuts(graph: Graph) -> dict[str, Refusal]:
    """Why these nodes stay in torch; reads whose number is used otherwise are not among them."""
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
