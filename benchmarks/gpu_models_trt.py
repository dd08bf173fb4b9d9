"""Every model of the sweep on engines of full TensorRT: whole, and right?

    python benchmarks/gpu_models_trt.py [--workers 6] [--seconds 500] [--only NAME ...] [--ways static dynamic]

On a machine with a GPU and TensorRT, for `trt:` of that GPU. Each model in its smallest form is
traced, partitioned, built by the product's own build step and executed at its profile's min, opt
and max (`dynamic`), or built for the opt sizes alone (`static`), and compared with eager float32 on
the CPU: `worst` in units of the variant's tolerance, `l2` as the distance over the reference's
norm. One process a row, tracing at the same time, building one at a time. Rows are kept in
benchmarks/results/gpu_models_trt.jsonl as they come; a second call goes on where the first stopped,
and gpu_models_trt.json sums them up.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402

ROWS = results.FOLDER / "gpu_models_trt.jsonl"
LIMIT = 170.0
"""Seconds for one row."""
TURN = Path(tempfile.gettempdir()) / "kiln-gpu-models-trt.lock"
"""Whoever holds it builds: two builds at a time would only wait for each other."""


def measure(name: str, way: str) -> dict[str, Any]:
    """One model's row."""
    import tensorrt
    import torch

    from benchmarks import zoo
    from compiler.goldens.source import GoldenSource
    from compiler.pipeline import BuildRequest, TraceRequest, build_program, trace_model
    from compiler.trace.source import Source
    from enginebundle.format.spec import Profile, Range, Target
    from enginebundle.serve.compare import compare
    from tests.gpu.execute import execute

    torch.set_num_threads(2)
    entry = zoo.entry(name, True)
    profiles = entry.profiles
    if way == "static":
        opt = profiles[0].at("opt")
        profiles = (Profile("p", tuple((s, Range(n, n, n)) for s, n in opt.items())),)
    kwargs = (("name", name), ("small", True))
    source = Source(entrypoint="benchmarks.zoo:build", kwargs=kwargs, search_path=(str(ROOT),))
    goldens = GoldenSource(entrypoint="benchmarks.zoo:goldens", kwargs=kwargs)
    start = time.perf_counter()
    traced = trace_model(TraceRequest(source, entry.inputs, entry.profiles, goldens))
    cases = [g for g in traced.goldens if way == "dynamic" or g.name == "opt"]
    major, minor = torch.cuda.get_device_capability()
    job = BuildRequest(Target.parse(f"trt:sm_{major}{minor}"), profiles)
    row: dict[str, Any] = {"trace_seconds": round(time.perf_counter() - start, 1)}
    with TURN.open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        start = time.perf_counter()
        built = build_program(traced.program, job, tuple(cases))
        row["build_seconds"] = round(time.perf_counter() - start, 1)
        engines = [segment for segment in built.segments if segment.kind == "engine"]
        row |= {"engines": len(engines), "segments": len(built.segments)}
        row["kept"] = built.report["torch_nodes"]
        if len(built.segments) != 1 or not engines or row["kept"]:
            return row | {"state": "partly"}
        bounds = dict(built.tolerances)
        worst = far = 0.0
        for case in cases:
            found = execute(tensorrt, engines[0].engine, case.inputs)
            for spec, value in zip(traced.program.graph.outputs, built.returns, strict=True):
                want, got = case.outputs[spec.name], found[value]
                worst = max(worst, compare(got, want, bounds[spec.name]).worst)
                if want.is_floating_point():
                    distance = (got.double() - want.double()).norm() / want.double().norm()
                    far = max(far, float(distance))
    row |= {"worst": worst, "l2": far}
    return row | {"state": "right" if worst <= 1 else "wrong"}


def in_process(name: str, way: str, limit: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--row", name, way]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"state": "cut off", "detail": f"took over {limit:.0f} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"')]
    if lines:
        row: dict[str, Any] = json.loads(lines[-1])
        return row
    talk = done.stderr.strip().splitlines() or [""]
    return {"state": "failed", "detail": f"exit code {done.returncode}: {talk[-1][:500]}"}


def main() -> int:
    from benchmarks import zoo

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [entry.name for entry in zoo.SWEEP]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--ways", nargs="+", default=["static", "dynamic"])
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=500.0)
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(measure(*options.row)))
        return 0
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []
    known = {(row["model"], row["way"]) for row in rows}
    wanted = [(n, w) for w in options.ways for n in options.only if (n, w) not in known]
    end = time.monotonic() + options.seconds

    def one(pair: tuple[str, str]) -> tuple[tuple[str, str], dict[str, Any]] | None:
        left = end - time.monotonic()
        if left < 20:
            return None
        row = in_process(*pair, min(LIMIT, left))
        # What the end of this call cut off is tried again by the next one.
        return None if row["state"] == "cut off" and left < LIMIT else (pair, row)

    with ThreadPoolExecutor(options.workers) as pool, ROWS.open("a") as record:
        for found in pool.map(one, wanted):
            if found is None:
                continue
            (name, way), row = found
            rows.append({"model": name, "way": way} | row)
            record.write(json.dumps(rows[-1]) + "\n")
            record.flush()
            print(json.dumps(rows[-1])[:300], flush=True)
    counts = {way: Counter(r["state"] for r in rows if r["way"] == way) for way in options.ways}
    print({way: dict(count) for way, count in counts.items()})
    others = [row for row in rows if row["state"] != "right"]
    figures = {"states": {w: dict(c) for w, c in counts.items()}, "not_right": others, "rows": rows}
    results.write("gpu_models_trt", figures, show=False)
    return 0 if not others and len(rows) == len(names) * len(options.ways) else 1


if __name__ == "__main__":
    sys.exit(main())
