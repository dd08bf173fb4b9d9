"""One model, one target: trace it to a Program, build the Program into segments that run.

    trace_model:      source -> nn.Module -> ExportedProgram -> lowered -> Program, and its goldens
    convert_program:  Program -> Partition -> networks
    build_program:    Program -> Partition -> networks -> engines, checked on the CPU against goldens

All take and return frozen values, and leave storing and scheduling to the caller.
"""

from __future__ import annotations

import gc
import platform
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from compiler.build import tensorrt, tensorrt_rtx
from compiler.build.aids import Aids
from compiler.build.apart import Apart
from compiler.build.blame import Search, blamed
from compiler.build.builder import BuildRefused
from compiler.build.engine_cache import EngineCache
from compiler.build.evaluated import Evaluated, evaluate_partition
from compiler.build.networks import (
    MAX_DEMOTED,
    BuildRequest,
    Converted,
    Demote,
    Failure,
    convert_or_demote,
    convert_program,
    gave_up,
)
from compiler.build.plugins import lacking, refused_nodes, told, without
from compiler.build.segments import BuiltSegment, build_segment
from compiler.goldens import goldens as golden
from compiler.goldens.goldens import GoldenCase, GoldenSource, GoldensRefused
from compiler.goldens.random import refuse_random
from compiler.goldens.tolerance import chain, computed, tolerances
from compiler.partition import Partition
from compiler.program import Program
from compiler.replace.apply import (
    Replaced,
    Replacement,
    check_operators,
    registry_with,
    replace_functions,
    replace_modules,
    replace_operators,
    without_plugins,
)
from compiler.trace.load import load_model
from compiler.trace.nested import take_each
from compiler.trace.source import Source
from enginebundle.format.spec import Profile, Target, TensorSpec, Tolerance, Toolchain
from enginebundle.format.structure import Tree
from enginebundle.runtimes.versions import runtime_versions

if TYPE_CHECKING:
    from compiler.trace.export import Rung

__all__ = [
    "BuildRequest", "BuiltProgram", "BuiltSegment", "Converted", "TraceRequest", "Traced", "build_program",
    "collector_paused", "convert_program", "trace_model",
]  # fmt: skip


@dataclass(frozen=True)
class TraceRequest:
    """What to trace: `inputs` with symbolic sizes, and the `profiles` that bound those sizes.

    If `goldens` is None, none are made: enough to inspect a partition, not to publish a bundle.
    """

    source: Source
    inputs: tuple[TensorSpec, ...]
    profiles: tuple[Profile, ...]
    goldens: GoldenSource | None
    precision: str = "fp32"
    replace: tuple[Replacement, ...] = ()


@dataclass(frozen=True)
class Traced:
    """A lowered program, and the goldens that every build of it must reproduce.

    `replaced` names each piece of the model that the user's own code replaced; the goldens are the
    original model's. `unchecked` lists the assertions in forward that no engine checks.
    """

    program: Program
    goldens: tuple[GoldenCase, ...]
    replaced: tuple[Replaced, ...] = ()
    unchecked: tuple[str, ...] = ()
    plain: Program | None = None
    """If plugins compute some operators: the program with these written out in PyTorch's own, for
    targets without plugins. None as well if their torch implementation can't be traced."""
    rung: Rung = "named"
    """How torch.export was asked for the program that it gave."""
    structure: Tree = None
    """How the outputs stood together in forward's result; None if that was a dict of them by name."""
    between: bool = False
    """Whether the program also holds at sizes between the profiles."""


@dataclass(frozen=True)
class BuiltProgram:
    """Segments in execution order; `returns` names the value behind each of the bundle's outputs."""

    segments: tuple[BuiltSegment, ...]
    returns: tuple[str, ...]
    report: dict[str, Any]
    toolchain: Toolchain
    tolerances: tuple[tuple[str, Tolerance], ...]
    """One for each output, for validation on the target."""
    evaluated: Evaluated | None
    parts: Partition
    """The partition that `report` describes, with its segments as they were before the build."""


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause Python's garbage collector meanwhile. Also works as a decorator.

    Export and lowering create some 100,000 objects that stay alive, and each collection walks all
    of them and all of torch's, which took a tenth of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@collector_paused()
def trace_model(request: TraceRequest) -> Traced:
    """Trace, lower, capture. Raises ModelRefused, ReplaceRefused, TraceRefused or GoldensRefused."""
    # Here, since a build does without them and what they import; before the user's code, which may
    # have modules of the same names.
    from compiler.lower import lower
    from compiler.lower.capture import capture, structure
    from compiler.trace.between import holds_between
    from compiler.trace.examples import from_calls
    from compiler.trace.export import trace_recorded

    model = take_each(load_model(request.source), request.inputs)
    path = request.source.search_path
    goldens: tuple[GoldenCase, ...] = ()
    unsteady: GoldensRefused | None = None
    if request.goldens is not None:
        try:
            goldens = golden.make_goldens(
                model, request.goldens, request.inputs, request.profiles, path
            )
        except GoldensRefused as refused:
            if refused.code != "random":
                raise
            unsteady = refused  # the program may show at which line, or that forward keeps state
    # From here on, the model is no longer the one that produced the goldens.
    registry = registry_with(request.replace, None, path)
    model, modules = replace_modules(model, request.replace, path)
    model = take_each(model, request.inputs)  # it may be another one
    with replace_functions(request.replace, path) as functions:
        calls = [case.inputs for case in goldens]
        exported, unchecked, rung = trace_recorded(
            model, request.inputs, request.profiles,
            from_calls(calls, request.inputs) if calls else None, calls[0] if calls else None,
        )  # fmt: skip
    between = holds_between(exported, request.inputs, request.profiles)
    exported, operators = replace_operators(exported, request.replace, path)
    apart = without_plugins(exported, request.replace)
    lowered = lower(exported, registry.ops(), precision=request.precision)
    written = check_operators(lowered, request.replace)
    replaced = (*modules, *functions, *operators, *written)
    plain = None
    if apart is not None:
        plain = capture(lower(apart, registry.ops(), precision=request.precision), request.inputs)
    program = capture(lowered, request.inputs)
    refuse_random(program.graph, registry.ops())
    if unsteady is not None:
        raise unsteady
    golden.check_names(goldens, [spec.name for spec in program.graph.outputs])
    return Traced(program, goldens, replaced, unchecked, plain, rung, structure(lowered), between)


@collector_paused()
def build_program(
    program: Program, request: BuildRequest, goldens: tuple[GoldenCase, ...] = (),
    engines: EngineCache | None = None, aids: Aids | None = None, plain: Program | None = None,
) -> BuiltProgram:  # fmt: skip
    """Partition, convert and build; then evaluate the converted networks on the CPU over `goldens`.

    A node whose converter or layer fails is handed to torch with that reason and the build is tried
    again, unless `require_full_compilation` is set. An engine found in `engines` is reused. `aids` are
    what helps a build along and is in no key. Where the target or this process lacks a plugin, `plain`
    is built instead; without it, the operators that want the plugin run in torch. Both are in the report.

    Raises:
        PartitionRefused: full compilation was required, or a pattern matches nothing.
        ReplaceRefused: a replacement that the target does not support.
        BuildRefused: the target's GPU or TensorRT module is missing, the builder failed where full
            compilation was required, too many nodes failed, or an operator that bundles can't call
            must run in torch.
        InaccurateBuild: the networks, evaluated on the CPU, do not reproduce the goldens.
    """
    trt = _module(request.target)
    if request.refit and request.target.backend == "rtx":
        raise BuildRefused(
            "refit", "TensorRT-RTX builds refittable engines only where there is a GPU",
            "leave out `refit`, or build a trt: target",
        )  # fmt: skip
    missing = lacking(request)
    if missing and plain is not None:
        program, request = plain, replace(request, replace=without(request.replace))
    registry = registry_with(request.replace, request.target, request.search_path)
    overrides = dict(request.tolerance)
    allowed = tolerances(
        request.target, computed(request.precision, program.graph), [golden.outputs for golden in goldens], overrides,
        chain(program.graph),
    )  # fmt: skip
    demoted = refused_nodes(program.graph, missing)
    while len(demoted) <= MAX_DEMOTED:
        converted = convert_or_demote(program, request, registry, demoted)
        parts, networks = converted.parts, converted.networks
        try:
            segments = tuple(
                build_segment(trt, segment, network, program, request, engines, aids)
                for segment, network in zip(parts.segments, networks, strict=True)
            )
        except (Demote, Failure) as failed:
            if request.require_full_compilation:
                raise failed.cause from None
            if isinstance(failed, Demote):
                demoted |= failed.nodes
                continue
            with _own_process(aids) as apart:
                search = Search(trt, program, request, registry, apart)
                demoted |= blamed(failed, search, engines)
            continue
        evaluated = None
        if goldens:
            if aids is not None:
                aids.tell("Evaluating on the CPU", len(goldens))
            evaluated = evaluate_partition(
                program, parts, networks, goldens, request.precision, overrides
            )
        return BuiltProgram(
            segments,
            parts.returns,
            parts.report.to_json() | told(missing, plain is not None),
            _toolchain(trt),
            allowed,
            evaluated,
            parts,
        )
    raise gave_up(demoted)


@contextmanager
def _own_process(aids: Aids | None) -> Iterator[Apart]:
    """The process for builds that the caller has, or one for now."""
    if aids is not None and aids.apart is not None:
        yield aids.apart
    else:
        with closing(Apart()) as apart:
            yield apart


def _module(target: Target) -> Any:
    """The TensorRT module that builds for the target; None for torch."""
    if target.backend == "torch":
        return None
    if target.backend == "rtx":
        return tensorrt_rtx.module()
    trt = tensorrt.module()
    tensorrt.check_gpu(target)
    return trt


def _toolchain(trt: Any) -> Toolchain:
    versions = {"python": platform.python_version(), "torch": runtime_versions()["torch"]}
    if trt is not None:
        versions[trt.__name__] = str(trt.__version__)
    return Toolchain(tuple(versions.items()))
