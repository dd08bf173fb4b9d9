"""Runs a partition on the CPU: networks in the evaluator, torch segments in the bundles' runtime.

A wrong converter is caught here, on any machine and before a GPU is needed. It proves
the numbers of the network, not of the engine: only validation on a GPU proves those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from compiler.build.bisect import first_divergence
from compiler.goldens.goldens import GoldenCase
from compiler.goldens.tolerance import chain, computed, remedy, tolerance
from compiler.network.evaluate import evaluate
from compiler.network.kind import EvaluationError
from compiler.network.network import Network
from compiler.partition import Partition
from compiler.program import Program
from compiler.refused import Refused
from enginebundle.errors import BundleError
from enginebundle.format.graph import Graph, Node
from enginebundle.format.node import every
from enginebundle.format.spec import Target, TensorSpec, Tolerance
from enginebundle.runtimes.control import OPERATORS
from enginebundle.runtimes.operators import Operators, function_of
from enginebundle.runtimes.torch_graph import run_graph
from enginebundle.runtimes.torch_ops import ALLOWED
from enginebundle.serve.compare import compare

EXACT = Target("trt", ("sm_80",))
"""The evaluator multiplies in exact float32, so TensorRT's row of the tolerance table applies."""


class InaccurateBuild(Refused):
    """The converted networks do not reproduce the goldens. Code: `accuracy`, or `evaluation` where they give no
    values at all."""


@dataclass(frozen=True)
class Evaluated:
    """Errors over all goldens; `worst` is in units of the tolerance (1 is the limit)."""

    worst: float
    max_abs: float
    cases: tuple[tuple[str, str, float, float], ...]
    """(golden, output, worst, max_abs)."""

    def to_json(self) -> dict[str, Any]:
        cases = [
            {"golden": golden, "output": output, "worst": worst, "max_abs": max_abs}
            for golden, output, worst, max_abs in self.cases
        ]
        return {"worst": self.worst, "max_abs": self.max_abs, "cases": cases}


def callable_in_torch(node: Node) -> bool:
    """Whether the runtime of torch segments may call a node's operator without being asked."""
    return not foreign((node,))


def foreign(nodes: Iterable[Node]) -> list[Node]:
    """The nodes, in bodies too, whose operators the runtime of torch segments calls only on request."""
    own = ALLOWED | OPERATORS
    return [n for n in every(nodes) if n.op not in own and not n.op.startswith("sym.")]


def foreign_operators(graph: Graph) -> Operators:
    """The functional operators of such nodes, as far as torch has them here."""
    names = {node.op for node in foreign(graph.nodes)}
    known = ((name, function_of(name)) for name in sorted(names))
    return {name: function for name, function in known if function is not None}


def evaluate_partition(
    program: Program,
    parts: Partition,
    networks: Sequence[Network | None],
    goldens: Sequence[GoldenCase],
    precision: str,
    overrides: Mapping[str, Tolerance],
) -> Evaluated:
    """Compare every golden. `networks` has None for the segments that run in torch.

    An override replaces the table's tolerance for the output that it names. Raises InaccurateBuild,
    which names the first node whose value differs.
    """
    depth, row = chain(program.graph), computed(precision, program.graph)

    def limit(want: torch.Tensor) -> Tolerance:
        return tolerance(EXACT, row, want, depth)

    cases: list[tuple[str, str, float, float]] = []
    for golden in goldens:
        try:
            env = _run(program, parts, networks, golden.inputs)
        except (EvaluationError, BundleError) as error:
            raise InaccurateBuild(
                "evaluation",
                f"golden {golden.name!r} can't be computed: {error}{_origin(program, error)}",
                "correct the converter, if it is yours; or name the operator in torch_executed_ops, which leaves it "
                "to torch",
            ) from error
        for spec, value in zip(program.graph.outputs, parts.returns, strict=True):
            want = golden.outputs[spec.name]
            bound = overrides.get(spec.name) or overrides.get("*") or limit(want)
            found = compare(env[value], want, bound)
            cases.append((golden.name, spec.name, found.worst, found.max_abs))
            if not found.passed:
                raise InaccurateBuild(
                    "accuracy",
                    f"golden {golden.name!r}, output {spec.name!r}: {found.detail}; "
                    f"{_culprit(program, parts, networks, golden, limit)}",
                    remedy(precision, program.graph),
                )
    return Evaluated(
        max((worst for _, _, worst, _ in cases), default=0.0),
        max((max_abs for _, _, _, max_abs in cases), default=0.0),
        tuple(cases),
    )


def _run(
    program: Program,
    parts: Partition,
    networks: Sequence[Network | None],
    inputs: Mapping[str, torch.Tensor],
    observe: bool = False,
) -> dict[str, torch.Tensor]:
    """Every value passed between segments; with `observe`, those inside networks too."""
    env = {name: program.weights[name] for name in parts.returns if name in program.weights}
    env |= inputs
    for segment, network in zip(parts.segments, networks, strict=True):
        given = {spec.name: env[spec.name] for spec in segment.graph.inputs}
        if network is None:
            weights = {w.name: program.weights[w.name] for w in segment.graph.weights}
            env |= run_graph(segment.graph, weights, given, foreign_operators(segment.graph))
        else:
            env |= evaluate(network, given, observe)
    return env


def _origin(program: Program, error: Exception) -> str:
    """The operator and the line behind a layer that can't be computed; empty if nobody knows."""
    node = getattr(error, "node", "")
    found = [n for n in program.graph.nodes if n.name == node]
    return f" ({found[0].op} at {found[0].origin})" if found else ""


def _culprit(
    program: Program,
    parts: Partition,
    networks: Sequence[Network | None],
    golden: GoldenCase,
    limit: Callable[[torch.Tensor], Tolerance],
) -> str:
    """Where the networks first differ from the graph run by torch, as text."""
    own = [n for n in program.graph.nodes if not callable_in_torch(n)]
    if own:
        named = ", ".join(sorted({f"{n.op} ({n.name}) at {n.origin}" for n in own}))
        return f"torch's runtime can't check the graph node by node; look first at {named}"
    values = {v.name: v for node in program.graph.nodes for v in node.outputs}

    def reference(names: Sequence[str]) -> dict[str, torch.Tensor]:
        known = [name for name in names if name in values and values[name].is_tensor]
        specs = tuple(TensorSpec(name, values[name].dtype, values[name].shape) for name in known)
        graph = replace(program.graph, outputs=specs, returns=tuple(known))
        return dict(run_graph(graph, program.weights, golden.inputs))

    observed = _run(program, parts, networks, golden.inputs, observe=True)
    found = first_divergence(program.graph, reference, lambda names: observed, limit)
    if found is None:
        return "every value inside agrees with torch's, so the cause is lowering or the tolerance"
    return str(found)
