"""Builds a network into a serialized engine, with TensorRT or TensorRT-RTX.

One build at a time in each process: TensorRT would run them one after another anyway, and a process
that ends returns all its memory. Networks are strongly typed: the graph decides the precision.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from compiler.build.aids import Aid, Aids
from compiler.build.compatibility import missing_lean_runtime, set_compatibility
from compiler.build.effort import set_effort
from compiler.build.extents import extents
from compiler.build.options import BuildRefused, EngineOptions, Made
from compiler.network.emit import EmitError, Emitter
from compiler.network.network import Network
from compiler.network.older import fitted
from compiler.network.refit import Bindings
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile

__all__ = [
    "BuildRefused",
    "EngineOptions",
    "Made",
    "build_engine",
    "make_engine",
    "process_builder",
]


def build_engine(
    trt: Any, network: Network, graph: Graph, options: EngineOptions,
    bindings: Bindings | None = None,
) -> memoryview:  # fmt: skip
    """`make_engine` without aids: only the engine."""
    return make_engine(trt, network, graph, options, bindings=bindings).engine


def make_engine(
    trt: Any, network: Network, graph: Graph, options: EngineOptions,
    aids: Aids | None = None, bindings: Bindings | None = None,
) -> Made:  # fmt: skip
    """Build. `graph.inputs` give each input's sizes as expressions over the profiles' symbols.

    `bindings` are those of this network, for `options.refit`.

    Raises:
        BuildRefused: a layer or the whole network was refused; the message quotes TensorRT's log. Or
            the listener among the aids stopped the build (`cancelled`).
    """
    builder, log = process_builder(trt)
    log.lines.clear()
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    try:
        emitter = Emitter(trt, definition, bindings if options.refit else None)
        emitted = emitter.emit(fitted(network, trt))
    except EmitError as error:
        raise BuildRefused(
            "layer", f"{error}{log.quote()}", "the node runs in torch instead", error.node
        ) from error
    config = builder.create_builder_config()
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    set_effort(trt, config, options.effort)
    _name_capabilities(trt, config, options.capabilities)
    if refused := set_compatibility(trt, config, options.hardware, options.version_compatible):
        raise BuildRefused("compatibility", *refused)
    if emitted.bound:
        config.set_flag(trt.BuilderFlag.REFIT_INDIVIDUAL)
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
        _leave_out(definition, emitted.bound, log)
    for profile in options.profiles:
        config.add_optimization_profile(_profile(builder, graph, profile))
    aid = Aid(trt, config, aids or Aids(), options.without_sizes)
    engine = builder.build_serialized_network(definition, config)
    del emitted  # the weights had to stay in memory until here
    if aid.stopped:
        raise BuildRefused("cancelled", "the build was stopped while it ran", "run it again")
    if engine is None:
        if refused := missing_lean_runtime(trt, log.lines):
            raise BuildRefused("compatibility", *refused)
        raise BuildRefused(
            "builder", f"TensorRT built no engine{log.quote()}",
            "leave the named operator in torch with torch_executed_ops", log.blamed(definition),
        )  # fmt: skip
    # A view on TensorRT's own memory: a copy would duplicate every weight.
    return Made(memoryview(engine), aid.notes(log, engine))


@functools.cache
def process_builder(trt: Any) -> tuple[Any, Any]:
    """The process's Builder and its logger: to make one, TensorRT loads all kernels, for seconds."""
    log = _log(trt)
    return trt.Builder(log), log


def _leave_out(definition: Any, bound: Mapping[str, Any], log: Any) -> None:
    """Name the weights that are supplied when the engine is opened, and mark them as refittable.

    Only these: what else there is, TensorRT may fold. A weight that it can't leave out would be in an
    engine that other models share, so that is refused.
    """
    refused = [
        name
        for name, weights in bound.items()
        if not (
            definition.set_weights_name(weights, name) and definition.mark_weights_refittable(name)
        )
    ]
    if refused:
        raise BuildRefused(
            "refit",
            f"TensorRT can't refit {len(refused)} of {len(bound)} weights, {refused[0]!r} "
            f"first{log.quote()}",
            "leave out `refit: true`",
        )


def _profile(builder: Any, graph: Graph, profile: Profile) -> Any:
    made = builder.create_optimization_profile()
    for spec in graph.inputs:
        made.set_shape(spec.name, *extents(spec, profile))
    return made


def _name_capabilities(trt: Any, config: Any, capabilities: tuple[str, ...]) -> None:
    """Tell TensorRT-RTX which GPUs to compile for; TensorRT has no such call."""
    if not capabilities:
        return
    known: Mapping[str, Any] = trt.ComputeCapability.__members__
    wanted = [capability.replace("sm_", "SM") for capability in capabilities]
    missing = [name for name in wanted if name not in known]
    if missing:
        raise BuildRefused(
            "architecture", f"{trt.__name__} {trt.__version__} compiles for {', '.join(known)}; not {missing}",
            "choose one of these, or trt:sm_NN on a machine with that GPU",
        )  # fmt: skip
    config.num_compute_capabilities = len(wanted)
    for index, name in enumerate(wanted):
        config.set_compute_capability(known[name], index)


_NUMBERED = re.compile(r"\(Unnamed Layer\* (\d+)\)")


def _log(trt: Any) -> Any:
    """A TensorRT logger that keeps warnings and errors, for messages."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.lines.append(message)

        def quote(self) -> str:
            return ": " + " | ".join(self.lines[-3:])[:2000] if self.lines else ""

        def blamed(self, definition: Any) -> str:
            """The graph node whose layer name (`node#position`) an error line mentions first."""

            def by_number(found: re.Match[str]) -> str:
                # TensorRT names the layers inside an attention so, by their place in the network.
                number = int(found[1])
                layers: int = definition.num_layers
                return str(definition.get_layer(number).name) if number < layers else ""

            for line in self.lines:
                for word in re.split(r"[\s()\[\]]+", _NUMBERED.sub(by_number, line)):
                    name, mark, _ = word.strip("'\",:.").partition("#")
                    if mark:
                        return name
            return ""

    return Log()
