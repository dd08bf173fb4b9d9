"""Time from nn.Module to serialized engine: this compiler against torch.onnx and TensorRT-RTX's parser.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/compile.py [--only NAME ...] [--repeat 3]

Each run is a fresh process. Both ways start with the same model built and with torch, the model's
library and tensorrt_rtx imported. Both end with the bytes of an engine for sm_89 with the same
optimization profile. Ours: trace, lower, capture, partition and convert, build. Theirs:
torch.onnx.export(dynamo=True) with the same dynamic dimensions, save the file, parse it, build. The
two take turns. Each figure is the median of the runs, in wall seconds and in processor seconds of
all threads. Prints the seconds of each stage and the ratio of the totals, and writes
benchmarks/results/compile.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results, zoo  # noqa: E402

NAMES = ("bert-base", "vit-base", "resnet50")
WAYS = ("kiln", "onnx")
TARGET = "rtx:sm_89"
Stages = dict[str, tuple[float, float]]
"""Wall and processor seconds of each stage, in order."""


class Watch:
    """Measures the seconds of each stage."""

    def __init__(self) -> None:
        self.stages: Stages = {}
        self._restart()

    def _restart(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stage(self, name: str) -> None:
        """End a stage, which began at the end of the previous one."""
        spent = (time.perf_counter() - self._wall, time.process_time() - self._cpu)
        self.stages[name] = spent
        self._restart()


def kiln(name: str, model: Any) -> tuple[Stages, int]:
    """The farm's own steps, in one process."""
    from compiler.build import tensorrt_rtx
    from compiler.build.builder import EngineOptions, build_engine
    from compiler.build.networks import BuildRequest, convert_program
    from compiler.convert.library import REGISTRY
    from compiler.lower import lower
    from compiler.lower.capture import capture
    from compiler.trace.export import trace
    from enginebundle.format.spec import Target

    entry, module, target = zoo.entry(name), tensorrt_rtx.module(), Target.parse(TARGET)
    watch = Watch()
    exported = trace(model, entry.inputs, entry.profiles)
    watch.stage("export")
    lowered = lower(exported, REGISTRY.ops())
    watch.stage("lower")
    program = capture(lowered, entry.inputs)
    watch.stage("capture")
    job = BuildRequest(target, entry.profiles, require_full_compilation=True)
    converted = convert_program(program, job)
    watch.stage("convert")
    (segment,), (network,) = converted.parts.segments, converted.networks
    assert network is not None
    options = EngineOptions(entry.profiles, capabilities=target.archs)
    engine = build_engine(module, network, segment.graph, options)
    watch.stage("build")
    return watch.stages, len(engine)


def onnx(name: str, model: Any) -> tuple[Stages, int]:
    """torch's exporter, then TensorRT-RTX's parser and builder, used as its documentation shows."""
    import tensorrt_rtx as trt
    import torch
    from torch.export import Dim

    entry = zoo.entry(name)
    (profile,) = entry.profiles
    opt = profile.at("opt")
    dims = {s: Dim(s, min=max(1, r.min), max=r.max) for s, r in profile.ranges}
    shapes = {
        spec.name: {i: dims[n] for i, n in enumerate(spec.shape) if isinstance(n, str)}
        for spec in entry.inputs
    }
    examples = {
        spec.name: torch.zeros(spec.sizes(opt), dtype=getattr(torch, spec.dtype))
        if spec.dtype == "float32"
        else torch.ones(spec.sizes(opt), dtype=getattr(torch, spec.dtype))
        for spec in entry.inputs
    }
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        watch = Watch()
        with torch.no_grad():
            program = torch.onnx.export(
                model, (), kwargs=examples, dynamic_shapes=shapes, dynamo=True, verbose=False
            )
        watch.stage("export")
        program.save(path, external_data=True)
        watch.stage("save")
        builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(flags)
        parser = trt.OnnxParser(network, builder.logger)
        if not parser.parse_from_file(path):
            raise SystemExit(str(parser.get_error(0)))
        watch.stage("parse")
        config = builder.create_builder_config()
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM89, 0)
        bounds = builder.create_optimization_profile()
        for spec in entry.inputs:
            bounds.set_shape(spec.name, *(spec.sizes(profile.at(p)) for p in ("min", "opt", "max")))
        config.add_optimization_profile(bounds)
        engine = builder.build_serialized_network(network, config)
        watch.stage("build")
        size: int = engine.nbytes
    return watch.stages, size


def child(name: str, way: str) -> None:
    import tensorrt_rtx  # noqa: F401

    from compiler.pipeline import collector_paused

    model = zoo.build(name)
    run: Callable[[str, Any], tuple[Stages, int]] = {"kiln": kiln, "onnx": onnx}[way]
    # The farm's own steps pause the garbage collector too.
    with collector_paused() if way == "kiln" else nullcontext():
        stages, size = run(name, model)
    print(json.dumps({"stages": stages, "bytes": size}))


def measured(name: str, way: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", name, way]
    # One thread for torch, as in the farm's workers: on a shared machine, more threads wait for each other.
    own = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} by {way} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def compare(name: str, repeat: int) -> dict[str, Any]:
    """Medians by way and stage, and the ratio of the totals, ours over theirs."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(repeat):
        for way in WAYS:
            runs[way].append(measured(name, way))
    row: dict[str, Any] = {"model": name}
    for way in WAYS:
        totals = [[sum(s[i] for s in run["stages"].values()) for i in (0, 1)] for run in runs[way]]
        row[way] = {
            "stages": {
                stage: [round(statistics.median(r["stages"][stage][i] for r in runs[way]), 3)
                        for i in (0, 1)]
                for stage in runs[way][0]["stages"]
            },
            "total": [round(statistics.median(t[i] for t in totals), 3) for i in (0, 1)],
            "engine_bytes": runs[way][0]["bytes"],
            "runs": totals,
        }  # fmt: skip
    row["ratio"] = [round(row["kiln"]["total"][i] / row["onnx"]["total"][i], 3) for i in (0, 1)]
    return row


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return 0
    rows = []
    for name in options.only:
        row = compare(name, options.repeat)
        rows.append(row)
        print(f"{name}: wall ratio {row['ratio'][0]}, processor ratio {row['ratio'][1]}")
        for way in WAYS:
            stages = "  ".join(f"{s} {w:.2f} ({c:.2f})" for s, (w, c) in row[way]["stages"].items())
            wall, cpu = row[way]["total"]
            print(f"  {way}: {wall:.2f} s wall, {cpu:.2f} s processor: {stages}")
    results.write(
        "compile", {"target": TARGET, "repeat": options.repeat, "models": rows}, show=False
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
