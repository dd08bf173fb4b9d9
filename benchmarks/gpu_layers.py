"""Where an engine goes wrong: the first layers whose results differ from the same network's on the CPU.

    python benchmarks/gpu_layers.py CASE ... [--level 0] [--traced STORE]

On a machine with a GPU and TensorRT. CASE is `family/case`, as benchmarks/gpu_operators_trt.py names
them, or `model:NAME:static` or `model:NAME:dynamic` of the sweep. Each network is built twice: as it
is, and with the result of every layer among its outputs. Printed are the outputs that differ, and of
the layers whose inputs agree and whose results do not, what went in and what came out. Outputs
prevent fusions: where only the first engine is wrong, TensorRT's fusion is, and the network is cut
in halves instead: the shortest part that is wrong, with its last layers.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks import gpu_models_trt  # noqa: E402
from benchmarks.gpu_operators import _distance, families  # noqa: E402
from compiler.network.network import Layer, Network  # noqa: E402
from enginebundle.format.graph import Graph  # noqa: E402
from enginebundle.format.spec import Profile, Range, Target  # noqa: E402

Values = Mapping[str, torch.Tensor]
SHOWN = 3
"""Faulty layers printed for each network."""


@dataclass(frozen=True)
class Subject:
    """A network, its sizes, and what to feed it, in turn."""

    name: str
    network: Network
    graph: Graph
    profile: Profile
    feeds: tuple[Values, ...]


def of_case(name: str) -> Iterator[Subject]:
    from tests.compiler.convert.harness import converted

    family, _, wanted = name.partition("/")
    (case,) = (one for one in families()[family] if str(one) == wanted)
    found = converted(case)
    sizes = found.sizes
    middle = Range(sizes[0], sizes[len(sizes) // 2], sizes[-1])
    profile = Profile("p", (("n", middle),))
    yield Subject(name, found.network, found.graph, profile, tuple(found.feeds))


def of_model(name: str, way: str, folder: str | None) -> Iterator[Subject]:
    from compiler.build.networks import BuildRequest
    from compiler.pipeline import convert_program

    model = gpu_models_trt.traced(name, folder)
    (profile,) = gpu_models_trt.profiles(name, way)
    target = Target.parse("trt:sm_90")
    made = convert_program(model.program, BuildRequest(target, (profile,)))
    opt = next(case for case in model.goldens if case.name == "opt")
    for segment, network in zip(made.parts.segments, made.networks, strict=True):
        if network is not None and len(made.networks) == 1:
            yield Subject(f"{name} {way}", network, segment.graph, profile, (opt.inputs,))


def run(trt: Any, network: Network, subject: Subject, level: int, feed: Values) -> Values:
    """The network's outputs from an engine. RuntimeError if it does not build."""
    from compiler.build.builder import _profile, process_builder
    from compiler.network.emit import Emitter
    from tests.gpu.execute import execute

    builder, log = process_builder(trt)
    log.lines.clear()
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    emitted = Emitter(trt, definition).emit(network)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.builder_optimization_level = level
    config.add_optimization_profile(_profile(builder, subject.graph, subject.profile))
    engine = builder.build_serialized_network(definition, config)
    del emitted
    if engine is None:
        raise RuntimeError(f"not built{log.quote()}")
    return execute(trt, engine, feed)


def far(got: Values, want: Values) -> dict[str, float]:
    """Outputs beyond the tolerance, in its units."""
    apart = {name: _distance(got[name], want[name], 2e-5, 1e-4) for name in want}
    return {name: distance for name, distance in apart.items() if distance > 1}


def look(trt: Any, subject: Subject, level: int) -> None:
    from compiler.network.evaluate import evaluate
    from compiler.network.older import fitted

    network = fitted(subject.network, trt)
    print(f"== {subject.name}: {len(network.layers)} layers", flush=True)
    wrong = [
        feed
        for feed in subject.feeds
        if far(run(trt, network, subject, level, feed), evaluate(network, feed))
    ]
    print(f"   {len(wrong)} of {len(subject.feeds)} feeds differ", flush=True)
    if not wrong:
        return
    every = tuple((t.name, t) for layer in network.layers for t in layer.outputs)
    marked = replace(network, outputs=every, nodes={})
    got, want = run(trt, marked, subject, level, wrong[0]), evaluate(marked, wrong[0])
    bad = far(got, want)
    faulty = [layer for layer in marked.layers if _to_blame(layer, bad)]
    for layer in faulty[:SHOWN]:
        show(layer, got | dict(wrong[0]), want)
    if not faulty:
        halve(trt, network, subject, level, wrong[0])


def _to_blame(layer: Layer, bad: Mapping[str, float]) -> bool:
    return any(t.name in bad for t in layer.outputs) and not any(
        t is not None and t.name in bad for t in layer.inputs
    )


def show(layer: Layer, got: Values, want: Values) -> None:
    print(f"   {layer.kind} {dict(layer.attributes)} of {layer.node}")
    for tensor in layer.inputs:
        if tensor is not None:
            value = got[tensor.name] if tensor.constant is None else tensor.constant
            print(f"      in  {tuple(value.shape)} {value.dtype} {value.flatten()[:8].tolist()}")
    for tensor in layer.outputs:
        found, wanted = got[tensor.name].flatten(), want[tensor.name].flatten()
        places = (found != wanted).nonzero().flatten()[:8]
        print(f"      out {tuple(got[tensor.name].shape)} at {places.tolist()}")
        print(f"          got {found[places].tolist()} expected {wanted[places].tolist()}")


def halve(trt: Any, network: Network, subject: Subject, level: int, feed: Values) -> None:
    """Find the first layer that is wrong when it is the only output, and print those before it."""
    from compiler.network.evaluate import evaluate

    def wrong(count: int) -> bool:
        last = network.layers[count - 1]
        outputs = tuple((t.name, t) for t in last.outputs)
        part = replace(network, layers=network.layers[:count], outputs=outputs, nodes={})
        try:
            return bool(far(run(trt, part, subject, level, feed), evaluate(part, feed)))
        except (AssertionError, RuntimeError) as error:
            print(f"   {count} layers: {str(error)[:200]}", flush=True)
            return False

    low, high = 1, len(network.layers)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if wrong(middle) else (middle + 1, high)
    print(f"   wrong from layer {low - 1} on, where that is the only output")
    for layer in network.layers[max(low - 14, 0) : low]:
        inputs = [
            "constant" if t and t.constant is not None else t and t.name for t in layer.inputs
        ]
        outputs = [f"{t.name} {tuple(t.shape)}" for t in layer.outputs]
        print(f"      {layer.kind} {dict(layer.attributes)} {inputs} -> {outputs}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="+", metavar="CASE")
    parser.add_argument("--level", type=int, default=0, help="TensorRT's optimization level")
    parser.add_argument("--traced", metavar="STORE", help="where models traced elsewhere are")
    options = parser.parse_args()
    import tensorrt

    for name in options.cases:
        kind, _, rest = name.partition(":")
        model, _, way = rest.partition(":")
        found = of_model(model, way, options.traced) if kind == "model" else of_case(name)
        for subject in found:
            try:
                look(tensorrt, subject, options.level)
            except (AssertionError, RuntimeError) as error:
                print(f"   {type(error).__name__}: {str(error)[:400]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
