"""Judges one sample: compiles it, and compares the numbers with eager torch's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from compiler.build import tensorrt_rtx
from compiler.build.builder import BuildRefused, EngineOptions, build_engine
from compiler.build.engine_cache import network_digest
from compiler.convert.interpret import ConversionError, convert, value_table
from compiler.convert.library import REGISTRY
from compiler.convert.registry import Refusal
from compiler.lower import LowerRefused, lower
from compiler.lower.capture import CaptureRefused, capture
from compiler.network.evaluate import evaluate
from compiler.network.kind import EvaluationError
from compiler.network.network import Network
from compiler.partition import Partition, is_compute, partition
from compiler.program import Program
from compiler.trace.export import TraceRefused, trace
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile, TensorSpec
from enginebundle.runtimes.torch_graph import run_graph
from enginebundle.runtimes.torch_ops import ALLOWED
from tests.opinfo.compare import Reference, references
from tests.opinfo.meaning import Excluded, eager
from tests.opinfo.samples import Sample

State = Literal["converted", "decomposed", "cut", "constant", "torch", "excluded", "wrong"]
PROFILE = Profile("default", ())
ARCHITECTURE = "sm_89"


@dataclass(frozen=True)
class Verdict:
    """What became of a sample.

    `converted`: one engine; the operator has its own converter. `decomposed`: one engine, of other
    operators. `cut`: one engine; torch cuts its results to the size that the engine computed.
    `constant`: nothing to compute. `torch`: a torch segment runs some node, for `reason`. `excluded`:
    not a task for an inference engine, for `reason`. `wrong`: there must be none.
    """

    sample: str
    state: State
    reason: str = ""
    worst: float = 0.0
    """The largest error, in units of the tolerance."""


@dataclass(frozen=True)
class Whole:
    """A sample that is one network, whose results in the CPU evaluator equal eager torch's."""

    verdict: Verdict
    network: Network
    graph: Graph
    """The nodes, inputs and outputs of the network."""
    tail: Graph | None
    """What cuts the results to size, if anything."""
    feeds: dict[str, torch.Tensor]
    wants: dict[str, Reference]
    evaluated: dict[str, torch.Tensor]

    def engine(self, architecture: str) -> bytes:
        """The engine, built with TensorRT-RTX. Raises BuildRefused."""
        options = EngineOptions((PROFILE,), capabilities=(architecture,))
        return build_engine(tensorrt_rtx.module(), self.network, self.graph, options)

    def results(self, outputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The sample's results, from an engine's outputs."""
        return finish(self.tail, outputs)


def finish(tail: Graph | None, outputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The engine's outputs, and the tail's results for them."""
    found = dict(outputs)
    if tail is not None:
        found |= run_graph(tail, {}, {spec.name: found[spec.name] for spec in tail.inputs})
    return found


def judge(sample: Sample) -> Verdict:
    """Export, lower, partition, convert, evaluate, compare, and build an engine."""
    found = examine(sample)
    if isinstance(found, Verdict):
        return found
    refused = _refused_build(found)
    if refused:
        return Verdict(sample.id, "torch", f"build: {refused[:300]}", found.verdict.worst)
    return found.verdict


def examine(sample: Sample) -> Whole | Verdict:
    """Everything that `judge` does before it builds an engine."""
    want = eager(sample)
    if isinstance(want, Excluded):
        return Verdict(sample.id, "excluded", want.reason)
    specs = tuple(
        TensorSpec(f"x{i}", str(t.dtype).removeprefix("torch."), tuple(t.shape))
        for i, t in enumerate(sample.tensors)
    )
    try:
        with torch.no_grad():
            feeds = dict(zip([s.name for s in specs], sample.inputs(), strict=True))
            exported = trace(sample.module, specs, (PROFILE,), lambda symbols: feeds)
            program = capture(lower(exported, REGISTRY.ops()), specs)
    except (TraceRefused, LowerRefused, CaptureRefused) as error:
        return Verdict(sample.id, "torch", f"export: {error.code}: {error.message[:160]}")
    want = [*want, *_written(sample, [spec.name for spec in program.graph.outputs[len(want) :]])]
    parts = split(program.graph)
    refused = reasons(parts)
    if _is_cut(parts, refused):
        return _numbers(sample, program, want, parts.segments[0].graph, parts.segments[1].graph)
    if refused:
        return _kept(sample, refused[0], program.graph)
    return _numbers(sample, program, want, program.graph, None)


def _written(sample: Sample, outputs: list[str]) -> list[torch.Tensor]:
    """The values after the call of the inputs that it writes into: `x3_after`."""
    inputs = sample.inputs()
    if outputs:
        with torch.no_grad():
            sample.module(*inputs)
    return [inputs[int(name.removeprefix("x").removesuffix("_after"))] for name in outputs]


def _kept(sample: Sample, reason: Refusal, graph: Graph) -> Verdict:
    """The verdict on a sample that is not one engine: random, run by torch, or run by nothing."""
    homeless = [n.op for n in graph.nodes if n.op.startswith("aten.") and n.op not in ALLOWED]
    if reason.code == "random" or any(
        torch.Tag.nondeterministic_seeded in _tags(op) for op in homeless
    ):
        return Verdict(sample.id, "excluded", f"random: {reason.detail[:100]}")
    if homeless:
        return Verdict(sample.id, "wrong", f"no torch segment may call {homeless[0]}")
    return Verdict(sample.id, "torch", reason.detail[:300])


def _tags(op: str) -> list[torch.Tag]:
    _, name, overload = op.split(".")
    tags: list[torch.Tag] = getattr(getattr(torch.ops.aten, name), overload).tags
    return tags


def refusals(graph: Graph) -> list[Refusal]:
    """Why nodes of a graph stay in torch."""
    return reasons(split(graph))


def split(graph: Graph) -> Partition:
    """The graph split into segments for engines and for torch."""
    values = value_table(graph)

    def refuse(node: Any) -> Refusal | None:
        found = REGISTRY.find(node, values)
        return found if isinstance(found, Refusal) else None

    return partition(graph, refuse)


def reasons(parts: Partition) -> list[Refusal]:
    """Why nodes that compute something stay in torch."""
    return [
        kept.reason
        for kept in parts.report.kept
        if kept.reason.code not in ("constant", "too_small")
    ]


def _is_cut(parts: Partition, refused: list[Refusal]) -> bool:
    kinds = [segment.kind for segment in parts.segments]
    return kinds == ["engine", "torch_graph"] and {r.code for r in refused} == {"cut"}


def _numbers(
    sample: Sample, program: Program, want: list[torch.Tensor], graph: Graph, tail: Graph | None
) -> Whole | Verdict:
    if not program.graph.nodes:
        return Verdict(sample.id, "constant")
    feeds = dict(zip([s.name for s in program.graph.inputs], sample.inputs(), strict=True))
    feeds = {spec.name: feeds[spec.name] for spec in graph.inputs}
    try:
        network = convert(graph, program.weights, REGISTRY)
        got = finish(tail, evaluate(network, feeds))
    except ConversionError as error:
        return Verdict(sample.id, "torch", error.refusal.detail[:300])
    except EvaluationError as error:
        return Verdict(sample.id, "wrong", f"evaluation: {error}"[:300])
    names = program.graph.returns if tail is not None else [s.name for s in graph.outputs]
    if len(names) != len(want):
        return Verdict(sample.id, "wrong", f"expected {len(want)} results, got {len(names)}")
    wants = dict(zip(names, references(sample, want, network), strict=True))
    worst = 0.0
    for name, reference in wants.items():
        found = reference.distance(got[name])
        worst = max(worst, found)
        if found > 1:
            detail = f"off by {found:.3g} times the tolerance; {reference.describe(got[name])}"
            return Verdict(sample.id, "wrong", detail, found)
    operators = {n.op for n in graph.nodes if is_compute(n)}
    state: State = "converted" if len(operators) <= 1 else "decomposed"
    verdict = Verdict(sample.id, state if tail is None else "cut", "", worst)
    return Whole(verdict, network, graph, tail, feeds, wants, got)


_BUILT: dict[str, str] = {}
"""Why a network was not built, or an empty text, by its digest: samples that differ only in their
values share an engine."""


def _refused_build(whole: Whole) -> str:
    if not whole.network.layers:
        return ""
    digest = network_digest(whole.network, {}, {})
    if digest not in _BUILT:
        try:
            whole.engine(ARCHITECTURE)
            _BUILT[digest] = ""
        except BuildRefused as error:
            _BUILT[digest] = error.message
    return _BUILT[digest]
