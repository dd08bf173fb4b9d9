"""One segment of a partition, built: its engine's bytes, or its graph and weights for torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from compiler.build.aids import Aids
from compiler.build.apart import DIED
from compiler.build.builder import BuildRefused, EngineOptions, make_engine
from compiler.build.effort import DEFAULT
from compiler.build.engine_cache import EngineCache, identity
from compiler.build.evaluated import foreign
from compiler.build.networks import BuildRequest, Demote, Failure
from compiler.build.replay import ReplayRefused
from compiler.convert.registry import Refusal
from compiler.network.kinds.plugin import has_plugins, plugins_of
from compiler.network.network import Network
from compiler.network.older import fitted
from compiler.network.refit import Bindings, bindings
from compiler.partition.segments import SegmentGraph
from compiler.program import Program
from enginebundle.format.digest import digest_json
from enginebundle.format.graph import Graph
from enginebundle.format.spec import TensorSpec
from enginebundle.format.variant import SegmentKind


@dataclass(frozen=True)
class BuiltSegment:
    """What a bundle stores for a segment: an engine's bytes, or weights by name for the graph.

    An engine with `weights` has none of its own and is refitted with these and `constants`, which are
    computed from weights. With `refit`, `weights` are all the program's, so that segments share them.
    `reused`: the engine was built before, for this model or another. `notes` is not stored there: the
    engine's `key` in the cache of engines, and, if it was built now, what its build depended on
    besides that key.
    """

    kind: SegmentKind
    graph: Graph
    engine: bytes | memoryview | None
    weights: Mapping[str, torch.Tensor] | None
    constants: Mapping[str, torch.Tensor] | None = None
    reused: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    """What its graph calls besides the operators that every bundle may call."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.graph.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.graph.outputs


@dataclass(frozen=True)
class Prepared:
    """A network as the target's TensorRT builds it, and what the builder needs besides."""

    network: Network
    options: EngineOptions
    bound: Bindings | None

    def identity(
        self, trt: Any, segment: SegmentGraph, program: Program, request: BuildRequest
    ) -> dict[str, Any]:
        """Of the engine, for the cache."""
        known = {id(program.weights[w.name]): w.digest for w in program.graph.weights}
        names = None if self.bound is None else self.bound.names
        archs = request.target.archs
        return identity(trt, self.network, segment.graph, self.options, archs, known, names)


def prepare(trt: Any, network: Network, program: Program, request: BuildRequest) -> Prepared:
    """Ready a segment's network for the builder."""
    capabilities = request.target.archs if request.target.backend == "rtx" else ()
    effort = request.effort if request.target.backend == "trt" else DEFAULT
    bound = None
    if request.refit:
        network = fitted(network, trt)  # the constants' names are those of the engine
        bound = bindings(network, program.weights)
    options = EngineOptions(
        request.profiles, request.precision == "tf32", capabilities, effort=effort,
        hardware=request.target.hardware, version_compatible=request.version_compatible,
        refit=bound is not None and bool(bound.names),
    )  # fmt: skip
    return Prepared(network, options, bound)


def build_segment(
    trt: Any, segment: SegmentGraph, network: Network | None, program: Program,
    request: BuildRequest, engines: EngineCache | None, aids: Aids | None = None,
) -> BuiltSegment:  # fmt: skip
    """Build an engine with the module `trt`, or take it from `engines`; without a network, keep the
    graph for torch. Raises Demote if nodes are known to be at fault, Failure if some are and nobody knows
    which, BuildRefused otherwise."""
    if network is None:
        called = _check_callable(segment, request.operators)
        names = [weight.name for weight in segment.graph.weights]
        weights = {name: program.weights[name] for name in names}
        return BuiltSegment(
            segment.kind,
            segment.graph.without_origins(),
            None,
            program.weights if request.refit and names else weights,
            operators=called,
        )
    prepared = prepare(trt, network, program, request)
    network, options, bound = prepared.network, prepared.options, prepared.bound
    apart = None if aids is None or has_plugins(network) else aids.apart
    own: Mapping[str, Any] | None = None
    notes: dict[str, Any] = {}
    built: dict[str, Any] = {}
    reused = True

    def build() -> bytes | memoryview:
        nonlocal built, reused
        if engines is not None and own is not None and (known := engines.blame(own)):
            raise Demote(known, BuildRefused("builder", *_first(known)))
        reused = False
        if aids is None or apart is None:
            made = make_engine(trt, network, segment.graph, options, aids, bound)
        else:
            made = apart.make_engine(
                trt, network, segment.graph, options, aids.store, bound, replay=aids.replay
            )
        built |= made.notes  # in place: the cache of engines has it too
        return made.engine

    def again(left: Mapping[str, Any]) -> bytes | memoryview:
        nonlocal aids
        aids = None if aids is None else aids.again(trt, left)
        return build()

    try:
        replaying = aids is not None and aids.proved is not None
        if has_plugins(network):  # their code is in the engine, not in its key
            if replaying:
                raise ReplayRefused(
                    "replay", "an engine with plugins is not kept by its key, which does not tell their "
                    "code, so the tactics of its build are not known",
                    "validate the variant instead: `kiln validate` compares it with its goldens",
                )  # fmt: skip
            engine = build()
        elif engines is None and not replaying:
            engine = build()
        else:
            own = prepared.identity(trt, segment, program, request)
            notes["key"] = digest_json(own)
            if aids is not None and replaying:
                aids = aids.replaying(notes["key"])
            engine = build() if engines is None else engines.engine(own, build, built, again)
    except BuildRefused as error:
        if error.code not in ("layer", "builder", DIED):
            raise
        if error.node not in segment.tensor_nodes():
            raise Failure(segment, error, own if engines is not None else None) from error
        refusal = Refusal(error.code, error.message, error.remedy)
        raise Demote({error.node: refusal}, error) from error
    made = BuiltSegment(
        segment.kind, segment.graph.without_origins(), engine, None, reused=reused,
        notes=notes | built, plugins=plugins_of(network),
    )  # fmt: skip
    if bound is None or not options.refit:
        return made
    derived = {name: bound.tensors[name] for name in bound.derived}
    return replace(made, weights=program.weights, constants=derived)


def _first(nodes: Mapping[str, Refusal]) -> tuple[str, str]:
    reason = next(iter(nodes.values()))
    return reason.detail, reason.remedy


def _check_callable(segment: SegmentGraph, allowed: Collection[str]) -> tuple[str, ...]:
    """The operators that it may call only because they are `allowed`. BuildRefused if another has to run
    in torch but bundles can't call it."""
    own = foreign(segment.graph.nodes)
    for node in own:
        if node.op not in allowed:
            raise BuildRefused(
                "operator",
                f"{node.op} ({node.name}) at {node.origin} has to run in torch, but bundles "
                "call only the operators in enginebundle/runtimes/torch_ops.py",
                "rewrite that line with other operators, replace the operator, or name it under `operators:`, "
                "which whoever loads the bundle then has to allow",
                node.name,
            )
    return tuple(sorted({node.op for node in own}))
