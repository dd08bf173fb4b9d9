"""What engines for more GPUs and TensorRT versions cost, and that they are right.

    python benchmarks/gpu_compatibility.py [--only convnet-fp16 ...] [--seconds 500]

On a machine with a GPU and TensorRT. Two models with random weights, in two precisions, are built by
the product's own build step in each way that a `trt:` target can be asked for, opened and run by the
loader's engine runtime, and compared with eager PyTorch: `worst` in units of the variant's tolerance.
`ms` is a call through the runtime, `graph_ms` the engine alone in a CUDA graph, each the median of
three runs of 60 calls, and `relative` is `graph_ms` over that of the exact engine. `level` is what the
opened engine says of itself. A way that this TensorRT can't build is a row with its refusal.

One process a model and precision; rows are kept in benchmarks/results/gpu_compatibility.jsonl as they
come. A second call goes on where the first stopped, and gpu_compatibility.json sums them up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402

ROWS = results.FOLDER / "gpu_compatibility.jsonl"
LIMIT = 280.0
"""Seconds for one process."""
MODELS = ("convnet", "transformer")
WAYS = ("exact", "same_compute_capability", "ampere_plus", "version_compatible")
BATCH = 32


def convnet() -> Any:
    """float32 [b, 3, 96, 96] -> [b, 100]: ten convolutions with batch norm, with shortcuts."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, width: int, out: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(width, out, 3, stride=2, padding=1, bias=False)
            self.norm1 = nn.BatchNorm2d(out)
            self.second = nn.Conv2d(out, out, 3, padding=1, bias=False)
            self.norm2 = nn.BatchNorm2d(out)
            self.short = nn.Conv2d(width, out, 1, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.norm1(self.first(x)))
            return torch.relu(self.norm2(self.second(y)) + self.short(x))

    torch.manual_seed(0)
    widths = (3, 64, 128, 256)
    blocks = [Block(a, b) for a, b in pairwise(widths)]
    head = (nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*blocks, *head, nn.Linear(256, 100)).eval()


def transformer() -> Any:
    """float32 [b, 128, 256] -> the same: four encoder layers with eight heads."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(256, 8, 1024, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False).eval()


def measure(model: str, precision: str) -> None:
    """Print a row for each way, as it comes."""
    import torch

    from compiler.build.builder import BuildRefused
    from compiler.goldens.source import GoldenSource
    from compiler.pipeline import BuildRequest, TraceRequest, build_program, trace_model
    from compiler.trace.source import Source
    from enginebundle.errors import RuntimeFailure
    from enginebundle.format.spec import Profile, Range, Target, TensorSpec

    shape = (3, 96, 96) if model == "convnet" else (128, 256)
    inputs = (TensorSpec("input" if model == "convnet" else "src", "float32", ("b", *shape)),)
    profiles = (Profile("p", (("b", Range(1, BATCH, BATCH)),)),)
    source = Source(f"benchmarks.gpu_compatibility:{model}", search_path=(str(ROOT),))
    traced = trace_model(TraceRequest(source, inputs, profiles, GoldenSource(seed=0), precision))
    major, minor = torch.cuda.get_device_capability()
    spelled = {"same_compute_capability": f"sm_{major}{minor}_any", "ampere_plus": "ampere_plus"}
    for way in WAYS:
        target = Target.parse(f"trt:{spelled.get(way, f'sm_{major}{minor}')}")
        row: dict[str, Any] = {"model": f"{model}-{precision}", "way": way, "target": str(target)}
        request = BuildRequest(
            target, profiles, precision, version_compatible=way == "version_compatible"
        )
        start = time.perf_counter()
        try:
            built = build_program(traced.program, request, traced.goldens)
            row["build_seconds"] = round(time.perf_counter() - start, 1)
            row |= run(built, request, traced.goldens)
        except (BuildRefused, RuntimeFailure) as error:
            row |= {"state": "refused", "detail": str(error)[:800]}
            row["remedy"] = getattr(error, "remedy", "")
        print(json.dumps(row), flush=True)


def run(built: Any, request: Any, goldens: Any) -> dict[str, Any]:
    """Open the one engine as the loader does, compare every golden, and time the largest batch."""
    import torch

    from enginebundle.errors import RuntimeFailure
    from enginebundle.format.digest import digest_bytes
    from enginebundle.format.variant import Segment
    from enginebundle.runtimes.tensorrt import open_engine
    from enginebundle.serve.compare import compare

    (part,) = built.segments
    assert part.kind == "engine", built.report["torch_nodes"]
    data = bytes(part.engine)
    segment = Segment("engine", digest_bytes(data), None, part.inputs, part.outputs, ("p",))
    row: dict[str, Any] = {"megabytes": round(len(data) / 1e6, 2)}
    if request.version_compatible:
        try:
            open_engine(data, segment)
            row["without_permission"] = "opened"
        except RuntimeFailure as error:
            row["without_permission"] = f"refused: {error}"[:400]
    engine = open_engine(data, segment, host_code=request.version_compatible)
    row["level"] = str(engine._engine.hardware_compatibility_level).rpartition(".")[2]
    bounds, worst = dict(built.tolerances), 0.0
    for golden in goldens:
        found = engine({name: x.cuda() for name, x in golden.inputs.items()}, "p")
        for (name, want), value in zip(golden.outputs.items(), built.returns, strict=True):
            worst = max(worst, compare(found[value].cpu(), want, bounds[name]).worst)
    row |= {"worst": worst, "state": "right" if worst <= 1 else "wrong"}
    (spec,) = part.inputs
    given = {spec.name: torch.randn(spec.sizes({"b": BATCH}), device="cuda")}
    kept = engine(given, "p")
    row["ms"] = clock(lambda: engine(given, "p"))
    # The addresses of the last call stay set: `kept` and the runtime hold that memory.
    kept = engine(given, "p")
    context = next(iter(engine._contexts.values())).trt
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            assert context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        row["graph_ms"] = clock(graph.replay)
    except (RuntimeError, AssertionError) as error:
        row["graph"] = f"not captured: {error}"[:300]
    del kept
    return row


def clock(call: Any) -> float:
    """Milliseconds a call."""
    import torch

    times = []
    for _ in range(4):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(60):
            call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 60)
    return round(median(times[1:]), 4)


def in_process(name: str, limit: float) -> list[dict[str, Any]]:
    """The rows of one model and precision; the ways it did not come to are marked so."""
    command = [sys.executable, __file__, "--row", name]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
        out, talk = done.stdout, f"exit code {done.returncode}: {done.stderr.strip()[-500:]}"
    except subprocess.TimeoutExpired as error:
        out = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        talk = f"took over {limit:.0f} s"
    rows = [json.loads(line) for line in out.splitlines() if line.startswith('{"model"')]
    missing = [way for way in WAYS if way not in {row["way"] for row in rows}]
    return rows + [{"model": name, "way": w, "state": "failed", "detail": talk} for w in missing]


def main() -> int:
    from enginebundle.runtimes.versions import runtime_versions

    names = [f"{model}-{precision}" for model in MODELS for precision in ("fp32", "fp16")]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--seconds", type=float, default=500.0)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        measure(*options.row.split("-"))
        return 0
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []
    known = {row["model"] for row in rows}
    end = time.monotonic() + options.seconds
    with ROWS.open("a") as record:
        for name in (name for name in options.only if name not in known):
            left = end - time.monotonic()
            made = in_process(name, min(LIMIT, left)) if left > 20 else []
            if any(row["state"] == "failed" for row in made) and left < LIMIT:
                break  # cut off by the end of this call: the next one tries it again
            exact = next((row.get("graph_ms") for row in made if row["way"] == "exact"), None)
            for row in made:
                if exact and "graph_ms" in row:
                    row["relative"] = round(row["graph_ms"] / exact, 3)
                record.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
            record.flush()
            rows += made
    figures = {"gpu": results.gpu(), "runtimes": runtime_versions(), "rows": rows}
    results.write("gpu_compatibility", figures, show=False)
    bad = [row for row in rows if row["state"] in ("wrong", "failed")]
    return 0 if not bad and {row["model"] for row in rows} == set(names) else 1


if __name__ == "__main__":
    sys.exit(main())
