"""Engines for one subject: by our own compiler, and by torch.onnx and TensorRT's parser.

Both start from the same module with the same weights, and end with serialized bytes for this GPU. What
is traced or exported once serves all builds of it.
"""

from __future__ import annotations

import functools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.speed import experiments
from benchmarks.speed.rows import Key
from benchmarks.speed.subjects import BATCH, SUBJECTS, WAYS, build, named
from compiler.build.networks import BuildRequest, Converted, convert_program
from compiler.pipeline import TraceRequest, build_program, trace_model
from compiler.program import Program
from compiler.trace.source import Source
from enginebundle.format.digest import digest_bytes
from enginebundle.format.spec import Target
from enginebundle.format.variant import Segment

ROOT = Path(__file__).resolve().parents[2]
EXPORTED = Path(tempfile.gettempdir()) / "kiln-gpu-speed"
"""Where ONNX files lie, so that a later call need not export again."""


@dataclass(frozen=True)
class Made:
    """A serialized engine. `outputs` maps the model's names of outputs to the engine's.

    `segment` is what the loader needs to open it; None for an engine of the ONNX path.
    """

    engine: bytes | memoryview
    outputs: dict[str, str]
    segment: Segment | None
    seconds: float


class NotWhole(RuntimeError):
    """The model did not become one engine."""


@functools.lru_cache(2)
def traced(key: Key) -> Program:
    """Our program of a row's model; `key` has build 0, so that builds share it."""
    subject, half = SUBJECTS[key.model], experiments.half_inside(key.experiment)
    kwargs = (("name", key.model), ("half", half))
    source = Source("benchmarks.speed.subjects:build", kwargs=kwargs, search_path=(str(ROOT),))
    request = TraceRequest(
        source, subject.specs(key.precision, half), (subject.profile(key.way),), None,
        "fp32" if half else key.precision,
    )  # fmt: skip
    return trace_model(request).program


def request_of(key: Key, target: Target) -> BuildRequest:
    precision = "fp32" if experiments.half_inside(key.experiment) else key.precision
    effort = experiments.effort(key.experiment)
    return BuildRequest(
        target, (SUBJECTS[key.model].profile(key.way),), precision, effort=effort
    )  # fmt: skip


def converted(key: Key) -> Converted:
    """Our networks, not built."""
    with experiments.applied(key.experiment):
        program = traced(_shared(key))
        return convert_program(program, request_of(key, Target.parse("trt:sm_90")))


def ours(key: Key) -> Made:
    major, minor = torch.cuda.get_device_capability()
    with experiments.applied(key.experiment):
        program = traced(_shared(key))
        start = time.perf_counter()
        built = build_program(program, request_of(key, Target.parse(f"trt:sm_{major}{minor}")))
        seconds = time.perf_counter() - start
    if len(built.segments) != 1 or built.segments[0].kind != "engine":
        raise NotWhole(f"kept in torch: {str(built.report['torch_nodes'])[:400]}")
    (segment,) = built.segments
    assert segment.engine is not None
    names = [spec.name for spec in program.graph.outputs]
    described = Segment(
        "engine", digest_bytes(segment.engine), None, segment.inputs, segment.outputs, ("p",)
    )
    return Made(
        segment.engine, dict(zip(names, built.returns, strict=True)), described, round(seconds, 1)
    )


def _shared(key: Key) -> Key:
    return Key(key.model, key.precision, key.path, 0)


class Positional(nn.Module):
    """A model called by position, with its outputs as a tuple: what an ONNX export wants.

    `wide`: float32 inputs and outputs, cast inside, as ours are.
    """

    def __init__(self, model: nn.Module, names: tuple[str, ...], half: bool, wide: bool) -> None:
        super().__init__()
        self.model, self.names, self.half_, self.wide = model, names, half, wide

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = tensors
        if self.half_ and self.wide:
            given = tuple(t.half() if t.is_floating_point() else t for t in tensors)
        found = named(self.model(**dict(zip(self.names, given, strict=True)))).values()
        return tuple(t.float() if self.wide and t.is_floating_point() else t for t in found)


def exported(key: Key) -> tuple[Path, list[str], float]:
    """The ONNX file of a row's model, the names of its outputs, and the seconds that its export took."""
    subject, half = SUBJECTS[key.model], key.precision == "fp16"
    folder = EXPORTED / f"{key.model}-{key.precision}-{key.path}"
    path, listed = folder / "model.onnx", folder / "outputs.txt"
    if listed.exists():
        return path, listed.read_text().split(), 0.0
    model = build(key.model, half)
    wide = key.path.startswith("onnx-border")
    feeds = {
        n: t.half() if half and not wide and t.is_floating_point() else t
        for n, t in subject.feeds().items()
    }
    with torch.no_grad():  # on the CPU, so that an export does not depend on a GPU
        outputs = list(named(model(**feeds)))
    start = time.perf_counter()
    dim = torch.export.Dim("b", min=1, max=WAYS["dynamic"].max)
    shapes = None
    if key.way == "dynamic":
        shapes = {"tensors": tuple({0: dim} for _ in feeds)}
    with torch.no_grad():
        program = torch.onnx.export(
            Positional(model, tuple(feeds), half, wide).eval(), tuple(feeds.values()),
            input_names=list(feeds), output_names=outputs, dynamic_shapes=shapes, dynamo=True,
            verbose=False,
        )  # fmt: skip
    assert program is not None
    folder.mkdir(parents=True, exist_ok=True)
    program.save(str(path), external_data=True)
    listed.write_text("\n".join(outputs))
    return path, outputs, round(time.perf_counter() - start, 1)


def onnx(key: Key) -> Made:
    import tensorrt as trt

    from compiler.build.builder import process_builder

    path, outputs, _ = exported(key)
    builder, log = process_builder(trt)
    log.lines.clear()
    start = time.perf_counter()
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(path)):
        errors = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        raise NotWhole(f"the parser refused it: {' | '.join(errors)[:600]}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if key.way == "dynamic":
        bounds, (low, opt, high) = builder.create_optimization_profile(), _batches()
        for spec in SUBJECTS[key.model].inputs:
            bounds.set_shape(spec.name, *(spec.sizes({"b": n}) for n in (low, opt, high)))
        config.add_optimization_profile(bounds)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise NotWhole(f"not built{log.quote()}")
    seconds = round(time.perf_counter() - start, 1)
    return Made(memoryview(engine), {name: name for name in outputs}, None, seconds)


def _batches() -> tuple[int, int, int]:
    bounds = WAYS["dynamic"]
    return bounds.min, BATCH, bounds.max
