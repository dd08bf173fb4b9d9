"""One model, one target: trace it to a Program, build the Program into segments that run.

    trace_job:  source -> nn.Module -> ExportedProgram -> lowered -> Program, and its goldens
    plan_job:   Program -> Partition -> networks
    build_job:  Program -> Partition -> networks -> engines, checked on the CPU against the goldens

Both take and return frozen values and leave storing and scheduling to the caller.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from compiler.build import tensorrt, tensorrt_rtx
from compiler.build.builder import BuildRefused, EngineOptions, build_engine
from compiler.build.engine_cache import EngineCache, identity
from compiler.build.evaluated import Simulated, callable_in_torch, simulate
from compiler.build.networks import MAX_DEMOTED, BuildJob, Demote, Planned, gave_up, plan, plan_job
from compiler.collector import collector_paused
from compiler.convert.registry import Refusal
from compiler.goldens.goldens import GoldenCase, GoldenSource, make_goldens
from compiler.goldens.tolerance import chain, tolerances
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.network.network import Network
from compiler.partition import Partition
from compiler.partition.segments import Segment
from compiler.program import Program
from compiler.replace.apply import (
    Replaced,
    Replacement,
    check_operators,
    registry_with,
    replace_functions,
    replace_modules,
    replace_operators,
)
from compiler.trace.export import trace_recorded
from compiler.trace.load import load_model
from compiler.trace.source import Source
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile, Target, TensorSpec, Tolerance, Toolchain
from enginebundle.runtimes.versions import runtime_versions

__all__ = [
    "BuildJob", "Built", "BuiltSegment", "Planned", "TraceJob", "Traced", "build_job", "plan_job",
    "trace_job",
]  # fmt: skip


@dataclass(frozen=True)
class TraceJob:
    """What to trace: `inputs` with symbolic sizes, `profiles` that bound them.

    Without `goldens` none are made: enough to look at a partition, not to publish.
    """

    source: Source
    inputs: tuple[TensorSpec, ...]
    profiles: tuple[Profile, ...]
    goldens: GoldenSource | None
    precision: str = "fp32"
    replace: tuple[Replacement, ...] = ()


@dataclass(frozen=True)
class Traced:
    """A lowered program and the goldens that every build of it must reproduce.

    `replaced` names each piece of the model that the user's own stands for; the goldens are the
    original model's. `unchecked` are the checks in forward that only raise, which no engine makes.
    """

    program: Program
    goldens: tuple[GoldenCase, ...]
    replaced: tuple[Replaced, ...] = ()
    unchecked: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuiltSegment:
    """An engine's bytes, or a graph and its weights for torch."""

    kind: str
    graph: Graph
    engine: bytes | memoryview | None
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
    parts: Partition
    """What `report` tells as JSON, and the segments before they were built."""


@collector_paused()
def trace_job(job: TraceJob) -> Traced:
    """Trace, lower, capture. Raises ModelRefused, ReplaceRefused, TraceRefused or GoldensRefused."""
    model = load_model(job.source)
    path = job.source.search_path
    goldens: tuple[GoldenCase, ...] = ()
    if job.goldens is not None:
        goldens = make_goldens(model, job.goldens, job.inputs, job.profiles, path)
    # From here on the model is no longer the one that made the goldens.
    registry = registry_with(job.replace, None, path)
    model, modules = replace_modules(model, job.replace, path)
    with replace_functions(job.replace, path) as functions:
        exported, unchecked = trace_recorded(model, job.inputs, job.profiles)
    exported, operators = replace_operators(exported, job.replace, path)
    lowered = lower(exported, registry.ops(), precision=job.precision)
    written = check_operators(lowered, job.replace)
    replaced = (*modules, *functions, *operators, *written)
    return Traced(capture(lowered, job.inputs), goldens, replaced, unchecked)


@collector_paused()
def build_job(
    program: Program,
    job: BuildJob,
    goldens: tuple[GoldenCase, ...] = (),
    engines: EngineCache | None = None,
) -> Built:
    """Partition, convert and build; then run the converted networks on the CPU over `goldens`.

    A node whose converter or whose layer fails is handed to torch with that reason and the build
    is tried again, unless `require_full_compilation`. An engine that `engines` holds is not built.

    Raises:
        PartitionRefused: full compilation was required, or a pattern matches nothing.
        ReplaceRefused: a replacement that the target can't have.
        BuildRefused: no GPU or module for the target, the builder failed without a culprit, or an
            operator must run in torch that bundles can't call.
        InaccurateBuild: the networks, computed on the CPU, do not reproduce the goldens.
    """
    trt = _module(job.target)
    registry = registry_with(job.replace, job.target, job.search_path)
    overrides = dict(job.tolerance)
    bounds = tolerances(
        job.target, job.precision, [golden.outputs for golden in goldens], overrides,
        chain(program.graph),
    )  # fmt: skip
    demoted: dict[str, Refusal] = {}
    while len(demoted) <= MAX_DEMOTED:
        planned = plan(program, job, registry, demoted)
        parts, networks = planned.parts, planned.networks
        try:
            segments = tuple(
                _build(trt, segment, network, program, job, engines)
                for segment, network in zip(parts.segments, networks, strict=True)
            )
        except Demote as demotion:
            if job.require_full_compilation:
                raise demotion.cause from None
            demoted |= demotion.nodes
            continue
        simulated = None
        if goldens:
            simulated = simulate(program, parts, networks, goldens, job.precision, overrides)
        return Built(
            segments,
            parts.returns,
            parts.report.to_json(),
            _toolchain(trt),
            bounds,
            simulated,
            parts,
        )
    raise gave_up(demoted)


def _build(
    trt: Any, segment: Segment, network: Network | None, program: Program, job: BuildJob,
    engines: EngineCache | None,
) -> BuiltSegment:  # fmt: skip
    if network is None:
        _check_callable(segment)
        names = [weight.name for weight in segment.graph.weights]
        weights = {name: program.weights[name] for name in names}
        return BuiltSegment(segment.kind, segment.graph.without_origins(), None, weights)
    capabilities = job.target.archs if job.target.backend == "rtx" else ()
    options = EngineOptions(job.profiles, job.precision == "tf32", capabilities)

    def build() -> bytes | memoryview:
        return build_engine(trt, network, segment.graph, options)

    try:
        if engines is None:
            engine = build()
        else:
            known = {id(program.weights[w.name]): w.digest for w in program.graph.weights}
            own = identity(trt, network, segment.graph, options, job.target.archs, known)
            engine = engines.engine(own, build)
    except BuildRefused as error:
        if error.code not in ("layer", "builder"):
            raise
        nodes = [n.name for n in segment.graph.nodes if n.outputs[0].is_tensor]
        blamed = [error.node] if error.node in nodes else nodes
        refusal = Refusal(error.code, error.message, error.remedy)
        raise Demote(dict.fromkeys(blamed, refusal), error) from error
    return BuiltSegment(segment.kind, segment.graph.without_origins(), engine, None)


def _check_callable(segment: Segment) -> None:
    """BuildRefused for an operator that would have to run in torch and that bundles can't call."""
    for node in segment.graph.nodes:
        if not callable_in_torch(node):
            raise BuildRefused(
                "operator",
                f"{node.op} ({node.name}) at {node.origin} has to run in torch, and a bundle "
                "calls only operators of enginebundle/runtimes/torch_ops.py",
                "rewrite that line with other operators, or replace the operator",
                node.name,
            )


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
    versions = {"python": platform.python_version(), "torch": runtime_versions()["torch"]}
    if trt is not None:
        versions[trt.__name__] = str(trt.__version__)
    return Toolchain(tuple(versions.items()))
