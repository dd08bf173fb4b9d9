"""From a region to something that runs: trace, lower, capture, partition, build, open.

build(region, values, options, target) -> Runner
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch._guards import tracing
from torch.export import ExportedProgram

from compiler.build.aids import Aids
from compiler.build.apart import Apart
from compiler.build.engine_cache import EngineCache
from compiler.build.evaluated import EXACT, foreign_operators
from compiler.dynamo.options import Options
from compiler.dynamo.region import META, Region, RegionRefused
from compiler.dynamo.tell import KilnWarning
from compiler.goldens.tolerance import chain, computed, tolerance
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.network.evaluate import evaluate
from compiler.network.network import Network
from compiler.partition import PartitionRefused, PartitionReport
from compiler.partition.select import executed_in_torch
from compiler.pipeline import BuildRequest, build_program, convert_program
from compiler.program import Program
from compiler.replace.apply import Replacement, registry_with, replace_operators
from compiler.replace.converters import operator_name, operators_of
from compiler.trace.export import trace
from compiler.trace.written import written_buffers, written_inputs
from enginebundle.format.digest import digest_bytes
from enginebundle.format.graph import Graph
from enginebundle.format.spec import DEFAULT_PROFILE, Target
from enginebundle.format.variant import Segment
from enginebundle.runtimes.torch_graph import TorchGraph
from enginebundle.serve.compare import compare
from enginebundle.storage.store import Store

SIMULATED = Target("rtx", ("sm_89",))
"""The target of `simulate` where none is given: the networks are the same for all targets."""

Tensors = dict[str, torch.Tensor]
Values = Mapping[str, torch.Tensor | float]
"""A region's weights and numbers by name."""
Step = Callable[[Mapping[str, torch.Tensor]], Tensors]


class StateWritten(RegionRefused):
    """The graph writes into these of the region's weights, which therefore can't be built in."""

    def __init__(self, names: frozenset[str], place: str) -> None:
        super().__init__(
            "mutation", f"the graph{place} writes into {', '.join(sorted(names)[:3])}",
            "put the model in eval mode if the write updates statistics",
        )  # fmt: skip
        self.names = names


@dataclass(frozen=True)
class Runner:
    """Segments in order, and the names of the values that are returned."""

    program: Program
    report: PartitionReport
    steps: tuple[Step, ...]
    returns: tuple[str, ...]
    judge: Target
    """The target whose tolerances apply to the results."""
    precision: str
    written: tuple[str, ...] = ()
    """Inputs that the graph writes into: their new values are the last results."""

    def __call__(self, inputs: Tensors) -> list[torch.Tensor]:
        """The graph's tensors in order. Raises RuntimeFailure."""
        values = {n: self.program.weights[n] for n in self.returns if n in self.program.weights}
        values |= inputs
        for step in self.steps:
            values.update(step(values))
        return [values[name] for name in self.returns]

    def differs(self, got: list[torch.Tensor], want: list[torch.Tensor]) -> str:
        """What is outside its tolerance, in words; empty if nothing is."""
        graph = self.program.graph
        depth, row = chain(graph), computed(self.precision, graph)
        for spec, mine, torchs in zip(self.program.graph.outputs, got, want, strict=True):
            bound = tolerance(self.judge, row, torchs.detach().cpu(), depth)
            found = compare(mine.detach().cpu(), torchs.detach().cpu(), bound)
            if not found.passed:
                return f"{spec.name}: {found.detail}"
        return ""


def build(region: Region, values: Values, options: Options, target: Target) -> Runner:
    """Compile a region for these weights and numbers. Raises the compiler's refusals, the loader's errors
    and StateWritten."""
    # Outside Dynamo's context: tracing inside it would add guards to Dynamo's frame.
    with tracing(None):
        program, written = _program(region, values, options)
    request = _request(program, region, options, target)
    if options.simulate:
        steps, report = _evaluated_steps(program, request, options)
        return Runner(
            program, report, steps, program.graph.returns, EXACT, options.precision, written
        )
    cache = _cache(options)
    built = build_program(program, request, engines=cache, aids=_aids(cache))
    steps = tuple(
        _opened(s.kind, s.graph, s.engine, s.weights or {}, target, "cuda") for s in built.segments
    )
    return Runner(
        program, built.parts.report, steps, built.returns, target, options.precision, written
    )


def _program(region: Region, values: Values, options: Options) -> tuple[Program, tuple[str, ...]]:
    """The program, and the inputs that it writes into."""
    registry = registry_with(options.replace, None, options.search_path)
    with torch.no_grad():
        exported = trace(region.module(values), region.inputs, (region.profile,))
    _restore_places(exported)
    called = _called(exported, options.replace)
    exported, _ = replace_operators(exported, called, options.search_path)
    lowered = lower(exported, registry.ops(), precision=options.precision)
    if state := written_buffers(lowered):
        raise StateWritten(frozenset(state), region.place)
    written = tuple(name for name, _ in written_inputs(lowered, region.inputs))
    program = capture(lowered, region.inputs)
    if not program.graph.outputs:
        raise RegionRefused("empty", "the graph computes no tensor", "nothing to do")
    return program, written


def _called(exported: ExportedProgram, replacements: tuple[Replacement, ...]) -> list[Replacement]:
    """The replacements of operators that this graph calls; another graph may call the others."""
    here = operators_of(exported)
    return [one for one in replacements if operator_name(one.pattern) in here]


def _restore_places(exported: ExportedProgram) -> None:
    """Give each node the user's line and modules that Dynamo saw."""
    for node in exported.graph.nodes:
        origin = (node.meta.get("custom") or {}).get(META)
        if origin is not None:
            node.meta["stack_trace"] = origin["trace"]
            stack = {f"m{n}": tuple(entry) for n, entry in enumerate(origin["modules"])}
            node.meta["nn_module_stack"] = stack


def _request(program: Program, region: Region, options: Options, target: Target) -> BuildRequest:
    return BuildRequest(
        target=target,
        profiles=(region.profile,),
        precision=options.precision,
        torch_executed_modules=_matching(program.graph, options.torch_executed_modules, "modules"),
        torch_executed_ops=_matching(program.graph, options.torch_executed_ops, "ops"),
        require_full_compilation=options.require_full_compilation,
        min_nodes=options.min_nodes,
        replace=tuple(one for one in options.replace if one.way != "with"),
        search_path=options.search_path,
        effort=options.effort,
        operators=tuple(foreign_operators(program.graph)),  # torch itself is at hand here
    )


_unmatched: set[tuple[str, str]] = set()
"""Patterns that have matched, or that a warning has named."""


def _matching(graph: Graph, patterns: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The patterns that match something in this graph; others may match in another graph."""
    found = []
    for pattern in patterns:
        asked = ((pattern,), ()) if what == "modules" else ((), (pattern,))
        try:
            executed_in_torch(graph, *asked)
        except PartitionRefused as refused:
            if (what, pattern) not in _unmatched:
                _unmatched.add((what, pattern))
                message = f"kiln: in this graph, {refused.message}; {refused.remedy}. "
                message += "That is fine if it matches in another graph of the model"
                warnings.warn(message, KilnWarning, stacklevel=2)
            continue
        _unmatched.add((what, pattern))
        found.append(pattern)
    return tuple(found)


def _evaluated_steps(
    program: Program, request: BuildRequest, options: Options
) -> tuple[tuple[Step, ...], PartitionReport]:
    converted = convert_program(program, request)
    report = converted.parts.report
    if options.target is not None:
        cache = _cache(options)
        report = build_program(program, request, engines=cache, aids=_aids(cache)).parts.report
    weights = program.weights
    steps = tuple(
        _evaluated(network)
        if network is not None
        else _opened(segment.kind, segment.graph, None, weights, request.target, "cpu")
        for segment, network in zip(converted.parts.segments, converted.networks, strict=True)
    )
    return steps, report


def _evaluated(network: Network) -> Step:
    def step(values: Mapping[str, torch.Tensor]) -> Tensors:
        return evaluate(network, {tensor.name: values[tensor.name] for tensor in network.inputs})

    return step


def _opened(
    kind: str, graph: Graph, engine: bytes | memoryview | None, weights: Mapping[str, torch.Tensor],
    target: Target, device: str,
) -> Step:  # fmt: skip
    if kind != "engine":
        own = {weight.name: weights[weight.name] for weight in graph.weights}
        return TorchGraph(graph, own, device, foreign_operators(graph))
    assert engine is not None
    from enginebundle.runtimes import tensorrt, tensorrt_rtx

    described = Segment(
        "engine", digest_bytes(engine), None, graph.inputs, graph.outputs, (DEFAULT_PROFILE,)
    )
    runtime = tensorrt_rtx if target.backend == "rtx" else tensorrt
    opened = runtime.open_engine(engine, described)
    return lambda values: opened(values, DEFAULT_PROFILE)


@functools.cache
def own_process() -> Apart:
    """Where engines are built: a builder that dies must not end the process of a `torch.compile` user."""
    return Apart()


def _aids(cache: EngineCache) -> Aids:
    return Aids(cache.store, apart=own_process())


def _cache(options: Options) -> EngineCache:
    return EngineCache(Store.open(options.store, create=True))
