"""One segment of a partition, built: its engine's bytes, or its graph and weights for torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from compiler.build.builder import BuildRefused, EngineOptions, build_engine
from compiler.build.engine_cache import EngineCache, identity
from compiler.build.evaluated import callable_in_torch
from compiler.build.networks import BuildRequest, Demote
from compiler.convert.registry import Refusal
from compiler.network.kinds.plugin import has_plugins, plugins_of
from compiler.network.network import Network
from compiler.partition.segments import SegmentGraph
from compiler.program import Program
from enginebundle.format.graph import Graph
from enginebundle.format.spec import TensorSpec
from enginebundle.format.variant import SegmentKind


@dataclass(frozen=True)
class BuiltSegment:
    """What a bundle stores for a segment: an engine's bytes, or weights by name for the graph."""

    kind: SegmentKind
    graph: Graph
    engine: bytes | memoryview | None
    weights: Mapping[str, torch.Tensor] | None
    plugins: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.graph.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.graph.outputs


def build_segment(
    trt: Any, segment: SegmentGraph, network: Network | None, program: Program,
    request: BuildRequest, engines: EngineCache | None,
) -> BuiltSegment:  # fmt: skip
    """Build an engine with the module `trt`, or take it from `engines`; without a network, keep the
    graph for torch. Raises Demote if the builder fails on nodes, BuildRefused otherwise."""
    if network is None:
        _check_callable(segment)
        names = [weight.name for weight in segment.graph.weights]
        weights = {name: program.weights[name] for name in names}
        return BuiltSegment(segment.kind, segment.graph.without_origins(), None, weights)
    plugins = plugins_of(network)
    capabilities = request.target.archs if request.target.backend == "rtx" else ()
    options = EngineOptions(request.profiles, request.precision == "tf32", capabilities)

    def build() -> bytes | memoryview:
        return build_engine(trt, network, segment.graph, options)

    try:
        if engines is None or has_plugins(network):  # their code is in the engine, not in its key
            engine = build()
        else:
            known = {id(program.weights[w.name]): w.digest for w in program.graph.weights}
            own = identity(trt, network, segment.graph, options, request.target.archs, known)
            engine = engines.engine(own, build)
    except BuildRefused as error:
        if error.code not in ("layer", "builder"):
            raise
        nodes = [n.name for n in segment.graph.nodes if n.outputs[0].is_tensor]
        blamed = [error.node] if error.node in nodes else nodes
        refusal = Refusal(error.code, error.message, error.remedy)
        raise Demote(dict.fromkeys(blamed, refusal), error) from error
    graph = segment.graph.without_origins()
    return BuiltSegment(segment.kind, graph, engine, None, plugins)


def _check_callable(segment: SegmentGraph) -> None:
    """BuildRefused if an operator has to run in torch but bundles can't call it."""
    for node in segment.graph.nodes:
        if not callable_in_torch(node):
            raise BuildRefused(
                "operator",
                f"{node.op} ({node.name}) at {node.origin} has to run in torch, but bundles "
                "call only the operators in enginebundle/runtimes/torch_ops.py",
                "rewrite that line with other operators, or replace the operator",
                node.name,
            )
