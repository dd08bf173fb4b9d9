"""Engines for one subject: by our own compiler, and by torch.onnx and TensorRT's parser.

Both start from the same module with the same weights, and end with serialized bytes for this GPU. What
is traced or exported once serves all builds of it. An engine lies in a folder from its build on, so that
several processes can build before anything is timed, and a later call builds none again.
"""

from __future__ import annotations

import fcntl
import functools
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from benchmarks.speed import experiments
from benchmarks.speed.rows import Key
from benchmarks.speed.subjects import BATCH, DYNAMIC, SUBJECTS, build, named
from compiler.build.networks import BuildRequest, Converted, convert_program
from compiler.pipeline import TraceRequest, build_program, trace_model
from compiler.program import Program
from compiler.trace.source import Source
from enginebundle.format.digest import digest_bytes
from enginebundle.format.spec import Profile, Target, TensorSpec
from enginebundle.format.variant import Segment

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(tempfile.gettempdir()) / "kiln-gpu-speed"
"""Where ONNX files and engines lie."""


@dataclass(frozen=True)
class Made:
    """A serialized engine. `outputs` maps the model's names of outputs to the engine's.

    `segment` is what the loader needs to open it; None for an engine of the ONNX path.
    """

    engine: bytes | memoryview
    outputs: dict[str, str]
    segment: Segment | None
    seconds: float


@contextmanager
def once(folder: Path) -> Iterator[bool]:
    """Whether the caller has to fill the folder. One process does, others wait for that."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not (folder / "done").exists()
        yield missing
        if missing:
            (folder / "done").touch()


def made(key: Key) -> Made:
    """The row's engine: the kept one, or a new one, which is kept."""
    folder = FOLDER / "-".join(map(str, astuple(key)))
    with once(folder) as missing:
        if missing:
            new = ours(key) if key.source == "ours" else onnx(key)
            (folder / "engine").write_bytes(new.engine)
            segment = None if new.segment is None else new.segment.to_json()
            told = {"outputs": new.outputs, "segment": segment, "seconds": new.seconds}
            (folder / "told.json").write_text(json.dumps(told))
    told = json.loads((folder / "told.json").read_text())
    segment = told["segment"] and Segment.from_json(told["segment"])
    return Made((folder / "engine").read_bytes(), told["outputs"], segment, told["seconds"])


class NotWhole(RuntimeError):
    """The model did not become one engine."""


@functools.lru_cache(2)
def traced(key: Key) -> Program:
    """Our program of a row's model; `key` has build 0, so that builds share it."""
    half = experiments.half_inside(key.experiment)
    kwargs = (("name", key.model), ("half", half))
    source = Source("benchmarks.speed.subjects:build", kwargs=kwargs, search_path=(str(ROOT),))
    inputs, profile = _described(key)
    precision = "fp32" if half else key.precision
    return trace_model(TraceRequest(source, inputs, (profile,), None, precision)).program


def _described(key: Key) -> tuple[tuple[TensorSpec, ...], Profile]:
    half, pinned = (experiments.half_inside(key.experiment), key.experiment == "pinned")
    return SUBJECTS[key.model].described(
        key.precision, key.way == "dynamic", half, pinned, key.batch
    )


def request_of(key: Key, target: Target) -> BuildRequest:
    precision = "fp32" if experiments.half_inside(key.experiment) else key.precision
    effort = experiments.effort(key.experiment)
    return BuildRequest(target, (_described(key)[1],), precision, effort=effort)


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
    return replace(key, build=0)


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


def exported(key: Key) -> Path:
    """The ONNX file of a row's model."""
    folder = FOLDER / "-".join(map(str, astuple(_shared(key))))
    with once(folder) as missing:
        if missing:
            _export(key, folder / "model.onnx")
    return folder / "model.onnx"


def _export(key: Key, path: Path) -> None:
    """On the CPU, so that it needs no GPU and takes none of its time."""
    subject, half = SUBJECTS[key.model], key.precision == "fp16"
    wide = key.path.startswith("onnx-border")
    feeds = subject.feeds(key.batch)
    if half and not wide:
        feeds = {n: t.half() if t.is_floating_point() else t for n, t in feeds.items()}
    wrapped = Positional(build(key.model, half), tuple(feeds), half, wide).eval()
    dim = torch.export.Dim("b", min=DYNAMIC.min, max=DYNAMIC.max)
    shapes = None
    if key.way == "dynamic":
        shapes = {"tensors": tuple({0: dim} for _ in feeds)}
    with torch.no_grad():
        program = torch.onnx.export(
            wrapped, tuple(feeds.values()), input_names=list(feeds),
            output_names=list(subject.outputs), dynamic_shapes=shapes, dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None
    program.save(str(path), external_data=True)


def onnx(key: Key) -> Made:
    import tensorrt as trt

    from compiler.build.builder import process_builder

    path = exported(key)
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
        bounds = builder.create_optimization_profile()
        batches = (DYNAMIC.min, BATCH, DYNAMIC.max)
        for spec in SUBJECTS[key.model].inputs:
            bounds.set_shape(spec.name, *(spec.sizes({"b": n}) for n in batches))
        config.add_optimization_profile(bounds)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise NotWhole(f"not built{log.quote()}")
    seconds = round(time.perf_counter() - start, 1)
    return Made(memoryview(engine), {n: n for n in SUBJECTS[key.model].outputs}, None, seconds)
