"""One model, one target: trace it to a Program, build the Program into segments that run.

    trace_job:  source -> nn.Module -> ExportedProgram -> lowered -> Program, and its goldens
    build_job:  Program -> Partition -> networks -> engines, checked on the CPU against the goldens

Both take and return frozen values and leave storing and scheduling to the caller.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from compiler.backends import tensorrt, tensorrt_rtx
from compiler.backends.builder import BuildRefused, EngineOptions, build_engine
from compiler.capture import capture
from compiler.convert.interpret import ConversionError, convert, value_table
from compiler.convert.library import REGISTRY
from compiler.convert.network import Network
from compiler.convert.registry import Refusal
from compiler.lower import lower
from compiler.model import Source, load_model
from compiler.partition import Partition, PartitionOptions, partition
from compiler.partition.segments import Segment
from compiler.program import Program
from compiler.simulate import Simulated, simulate
from compiler.trace import trace
from compiler.validate.goldens import GoldenCase, GoldenSource, make_goldens
from compiler.validate.tolerance import chain, tolerances
from enginebundle.graph import Graph, Node
from enginebundle.index import Tolerance
from enginebundle.spec import Profile, Target, TensorSpec, Toolchain

MAX_DEMOTED = 10_000
"""Nodes handed to torch, after a converter or the builder failed on them, before giving up."""


_TORCH_TARGET = Refusal("target", "the target runs everything in torch")


@dataclass(frozen=True)
class TraceJob:
    """What to trace: `inputs` with symbolic sizes, `profiles` that bound them."""

    source: Source
    inputs: tuple[TensorSpec, ...]
    profiles: tuple[Profile, ...]
    goldens: GoldenSource
    precision: str = "fp32"


@dataclass(frozen=True)
class Traced:
    """A lowered program and the goldens that every build of it must reproduce."""

    program: Program
    goldens: tuple[GoldenCase, ...]


@dataclass(frozen=True)
class BuildJob:
    """What to build: one runnable pipeline for `profiles` on `target`."""

    target: Target
    profiles: tuple[Profile, ...]
    precision: str = "fp32"
    torch_executed_modules: tuple[str, ...] = ()
    torch_executed_ops: tuple[str, ...] = ()
    require_full_compilation: bool = False
    min_nodes: int = 1
    tolerance: tuple[tuple[str, Tolerance], ...] = ()
    """Bounds for outputs by name, `*` for all others, in place of the table's."""


@dataclass(frozen=True)
class BuiltSegment:
    """An engine's bytes, or a graph and its weights for torch."""

    kind: str
    graph: Graph
    engine: bytes | None
    weights: Mapping[str, torch.Tensor] | None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.graph.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.graph.outputs


@dataclass(frozen=True)
class Built:
    """Segments in execution order; `returns` names the value behind each of the bundle's outputs."""

    segments: tuple[BuiltSegment, ...]
    returns: tuple[str, ...]
    report: dict[str, Any]
    toolchain: Toolchain
    tolerances: tuple[tuple[str, Tolerance], ...]
    """One for each output, for the loader's numbers on the target."""
    simulated: Simulated | None


def trace_job(job: TraceJob) -> Traced:
    """Trace, lower, capture. Raises ModelRefused, TraceRefused or GoldensRefused."""
    model = load_model(job.source)
    goldens = make_goldens(model, job.goldens, job.inputs, job.profiles)
    exported = trace(model, job.inputs, job.profiles)
    lowered = lower(exported, REGISTRY.ops(), precision=job.precision)
    return Traced(capture(lowered, job.inputs), goldens)


def build_job(program: Program, job: BuildJob, goldens: tuple[GoldenCase, ...] = ()) -> Built:
    """Partition, convert and build; then run the converted networks on the CPU over `goldens`.

    A node whose converter or whose layer fails is handed to torch with that reason and the build
    is tried again, unless `require_full_compilation`.

    Raises:
        PartitionRefused: full compilation was required, or a pattern matches nothing.
        BuildRefused: no GPU or module for the target, or the builder failed without a culprit.
        InaccurateBuild: the networks, computed on the CPU, do not reproduce the goldens.
    """
    trt = _module(job.target)
    overrides = dict(job.tolerance)
    bounds = tolerances(
        job.target, job.precision, [golden.outputs for golden in goldens], overrides,
        chain(program.graph),
    )  # fmt: skip
    demoted: dict[str, Refusal] = {}
    while len(demoted) <= MAX_DEMOTED:
        parts = _partition(program.graph, job, demoted)
        try:
            networks = _convert(parts, program)
            segments = tuple(
                _build(trt, segment, network, program, job)
                for segment, network in zip(parts.segments, networks, strict=True)
            )
        except _Demote as demotion:
            if job.require_full_compilation:
                raise demotion.cause from None
            demoted |= demotion.nodes
            continue
        simulated = None
        if goldens:
            simulated = simulate(program, parts, networks, goldens, job.precision, overrides)
        return Built(
            segments, parts.returns, parts.report.to_json(), _toolchain(trt), bounds, simulated
        )
    raise BuildRefused(
        "demotions", f"gave up after handing {len(demoted)} nodes to torch",
        "see the report; leave the failing modules in torch with torch_executed_modules",
    )  # fmt: skip


class _Demote(Exception):
    """Hand these nodes to torch and try again."""

    def __init__(self, nodes: dict[str, Refusal], cause: Exception) -> None:
        super().__init__(str(cause))
        self.nodes = nodes
        self.cause = cause


def _partition(graph: Graph, job: BuildJob, demoted: Mapping[str, Refusal]) -> Partition:
    if job.target.backend == "torch":
        whole = partition(graph, lambda node: _TORCH_TARGET)
        return replace(whole, report=replace(whole.report, kept=()))
    values = value_table(graph)

    def refuse(node: Node) -> Refusal | None:
        found = demoted.get(node.name) or REGISTRY.find(node, values)
        return found if isinstance(found, Refusal) else None

    options = PartitionOptions(
        job.torch_executed_modules, job.torch_executed_ops, job.min_nodes,
        job.require_full_compilation,
    )  # fmt: skip
    return partition(graph, refuse, options)


def _convert(parts: Partition, program: Program) -> list[Network | None]:
    """A network for each engine segment, None for the torch ones. _Demote on a converter's failure."""
    networks: list[Network | None] = []
    for segment in parts.segments:
        if segment.kind != "engine":
            networks.append(None)
            continue
        try:
            networks.append(convert(segment.graph, program.weights, REGISTRY))
        except ConversionError as error:
            raise _Demote({error.node.name: error.refusal}, error) from error
    return networks


def _build(
    trt: Any, segment: Segment, network: Network | None, program: Program, job: BuildJob
) -> BuiltSegment:
    if network is None:
        names = [weight.name for weight in segment.graph.weights]
        weights = {name: program.weights[name] for name in names}
        return BuiltSegment(segment.kind, segment.graph.without_origins(), None, weights)
    capabilities = job.target.archs if job.target.backend == "rtx" else ()
    options = EngineOptions(job.profiles, job.precision == "tf32", capabilities)
    try:
        engine = build_engine(trt, network, segment.graph, options)
    except BuildRefused as error:
        if error.code not in ("layer", "builder"):
            raise
        nodes = [n.name for n in segment.graph.nodes if n.outputs[0].is_tensor]
        blamed = [error.node] if error.node in nodes else nodes
        refusal = Refusal(error.code, error.message, error.remedy)
        raise _Demote(dict.fromkeys(blamed, refusal), error) from error
    return BuiltSegment(segment.kind, segment.graph.without_origins(), engine, None)


def _module(target: Target) -> Any:
    """The TensorRT module that builds for the target; None for torch."""
    if target.backend == "torch":
        return None
    if target.backend == "rtx":
        return tensorrt_rtx.module()
    trt = tensorrt.module()
    tensorrt.check_gpu(target.archs)
    return trt


def _toolchain(trt: Any) -> Toolchain:
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    if trt is not None:
        versions[trt.__name__] = str(trt.__version__)
    return Toolchain(tuple(versions.items()))
