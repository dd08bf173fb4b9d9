"""Find the node whose converter is wrong: where two runs of one graph first differ.

An output outside its tolerance says little; the first value outside it names one operator on one
line. Errors can fade and return along a graph, so this looks at every value in order instead of
halving.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from enginebundle.format.graph import Graph, Node
from enginebundle.format.spec import Tolerance
from enginebundle.serve.compare import Comparison, compare

Values = Callable[[Sequence[str]], Mapping[str, torch.Tensor]]
"""Runs the graph once and returns those of the named values that the run has."""

WINDOW = 256
"""How many values are fetched, and so held in memory, at a time."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first value outside its tolerance, and how well its node's inputs agreed.

    `inputs` pairs each input that both runs have with its worst error, in units of tolerance (1 is
    the limit). If all are small, the node itself is wrong.
    """

    node: Node
    value: str
    comparison: Comparison
    inputs: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        read = ", ".join(f"{name} {worst:.2g}" for name, worst in self.inputs) or "none compared"
        return (
            f"{self.value} = {self.node.op} is the first value outside tolerance: "
            f"{self.comparison.worst:.3g} times the limit, off by up to "
            f"{self.comparison.max_abs:.3g}; its inputs: {read}; from {self.node.origin}"
        )


def first_divergence(
    graph: Graph,
    reference: Values,
    candidate: Values,
    tolerance: Callable[[torch.Tensor], Tolerance],
) -> Divergence | None:
    """The first node of `graph`, in execution order, whose value differs between two runs.

    `tolerance` is called with each reference value. Values that a run does not have (folded into a
    neighbour, or sizes) are skipped. None if all values that both runs have agree.
    """
    for nodes in _windows(graph):
        names = [value.name for node in nodes for value in node.outputs if value.is_tensor]
        wants, gots = reference(names), candidate(names)
        for node in nodes:
            for value in node.outputs:
                if value.name not in wants or value.name not in gots:
                    continue
                want = wants[value.name]
                compared = compare(gots[value.name], want, tolerance(want))
                if not compared.passed:
                    read = _agreement(node, reference, candidate, tolerance)
                    return Divergence(node, value.name, compared, tuple(read))
    return None


def _agreement(
    node: Node,
    reference: Values,
    candidate: Values,
    tolerance: Callable[[torch.Tensor], Tolerance],
) -> Iterator[tuple[str, float]]:
    names = node.inputs()
    wants, gots = reference(names), candidate(names)
    for name in names:
        if name in wants and name in gots:
            yield name, compare(gots[name], wants[name], tolerance(wants[name])).worst


def _windows(graph: Graph) -> Iterator[Sequence[Node]]:
    for start in range(0, len(graph.nodes), WINDOW):
        yield graph.nodes[start : start + WINDOW]
