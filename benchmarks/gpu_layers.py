"""Where an engine goes wrong: the smallest part of a network that TensorRT computes otherwise than the CPU.

    python benchmarks/gpu_layers.py CASE ... [--level 0] [--traced STORE] [--out FOLDER]

On a machine with a GPU and TensorRT. CASE is `family/case`, as benchmarks/gpu_operators_trt.py names
them, or `model:NAME:static` or `model:NAME:dynamic` of the sweep. A network that is wrong, or does not
build, is cut to the shortest run of its layers that still is so, given what the layers before it make.
That part is printed, written to FOLDER as an ONNX model, and built once more by TensorRT's own parser:
if that goes wrong alike, the fault is TensorRT's.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks import gpu_faults, gpu_models_trt, narrow, network_onnx  # noqa: E402
from benchmarks.gpu_operators import families  # noqa: E402
from compiler.network.network import Layer, Network  # noqa: E402
from enginebundle.format.graph import Graph  # noqa: E402
from enginebundle.format.spec import Profile, Range, Target  # noqa: E402

Values = Mapping[str, torch.Tensor]
FAR = 1e-3
"""A relative L2 distance that no rounding of float32 makes."""
SHOWN = 40
"""Layers printed of the shortest wrong part."""


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


def run(trt: Any, network: Network, subject: Subject | None, level: int, feed: Values) -> Values:
    """The network's outputs from an engine, with the subject's profile unless all sizes are static.
    RuntimeError if it does not build."""
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
    if subject is not None:
        config.add_optimization_profile(_profile(builder, subject.graph, subject.profile))
    engine = builder.build_serialized_network(definition, config)
    del emitted
    if engine is None:
        raise RuntimeError(f"not built{log.quote()}")
    return execute(trt, engine, feed)


def look(trt: Any, subject: Subject, level: int, folder: Path) -> None:
    from compiler.network.evaluate import evaluate
    from compiler.network.older import fitted

    network = fitted(subject.network, trt)
    print(f"== {subject.name}: {len(network.layers)} layers", flush=True)

    def apart(cut: Network, whole: Subject | None, feed: Values) -> float:
        try:
            return farthest(run(trt, cut, whole, level, feed), evaluate(cut, feed))
        except (AssertionError, RuntimeError) as error:
            print(f"   {str(error)[:200]}", flush=True)
            return math.inf

    for feed in subject.feeds:
        far = apart(network, subject, feed)
        print(f"   l2 {far:.2g}", flush=True)
        if far > FAR:
            break
    else:
        return
    every = tuple((t.name, t) for layer in network.layers for t in layer.outputs)
    values = dict(feed) | evaluate(replace(network, outputs=every, nodes={}), feed)

    def wrong(low: int, high: int) -> bool:
        cut, given = narrow.part(network, values, low, high)
        far = apart(cut, None, given)
        print(f"   layers {low} to {high}: l2 {far:.2g}", flush=True)
        return far > FAR

    found = narrow.narrowest(len(network.layers), wrong)
    if found is None:
        print("   right, where its sizes are static and it has no profile")
        return
    cut, given = narrow.part(network, values, *found)
    for layer in cut.layers[-SHOWN:]:
        show(layer)
    through_onnx(trt, cut, given, level, folder / f"{re.sub('[ /]', '-', subject.name)}.onnx")


def show(layer: Layer) -> None:
    inputs = [
        ("constant " if t.constant is not None else "") + f"{t.name} {t.shape}"
        for t in layer.inputs
        if t is not None
    ]
    outputs = [f"{t.name} {t.shape}" for t in layer.outputs]
    print(f"      {layer.kind} {dict(layer.attributes)} {inputs} -> {outputs}")


def through_onnx(trt: Any, cut: Network, given: Values, level: int, file: Path) -> None:
    """The same part through TensorRT's own parser: with the same numbers, and with random ones."""
    from compiler.network.evaluate import evaluate
    from tests.gpu.execute import execute

    try:
        model = network_onnx.model(cut)
    except network_onnx.Untold as error:
        print(f"   not written as ONNX: {error}")
        return
    file.write_bytes(model.SerializeToString())
    generator = torch.Generator().manual_seed(0)
    random = {
        name: torch.randn(t.shape, generator=generator) if t.is_floating_point() else t
        for name, t in given.items()
    }
    try:
        engine = gpu_faults.engine(trt, model, given, level)
    except RuntimeError as error:
        print(f"   through ONNX: {str(error)[:400]}")
        return
    for feed, which in ((given, "the same numbers"), (random, "random numbers")):
        got = execute(trt, engine, feed)
        want = {f"{name}_out": value for name, value in evaluate(cut, feed).items()}
        print(f"   through ONNX, {which}: l2 {farthest(got, want):.2g}")


def farthest(got: Values, want: Values) -> float:
    """The largest relative L2 distance of an output."""
    return max(gpu_faults.apart(got[n].numpy(), want[n].numpy()) for n in want)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="+", metavar="CASE")
    parser.add_argument("--level", type=int, default=0, help="TensorRT's optimization level")
    parser.add_argument("--traced", metavar="STORE", help="where models traced elsewhere are")
    parser.add_argument("--out", type=Path, default=Path("."), help="for ONNX models")
    options = parser.parse_args()
    import tensorrt

    for name in options.cases:
        kind, _, rest = name.partition(":")
        model, _, way = rest.partition(":")
        found = of_model(model, way, options.traced) if kind == "model" else of_case(name)
        for subject in found:
            look(tensorrt, subject, options.level, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
