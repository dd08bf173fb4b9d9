"""Every model of the sweep on engines of full TensorRT: whole, and right?

    python benchmarks/gpu_models_trt.py [--workers 8] [--builds 1] [--seconds 500] [--only NAME ...] [--ways WAY ...]
    python benchmarks/gpu_models_trt.py --trace --traced STORE --only NAME ...       needs no GPU

On a machine with a GPU and TensorRT, for `trt:` of that GPU. Each model in its smallest form is
traced, partitioned, built by the product's own build step and executed at its profile's min, opt
and max (`dynamic`), or built for the opt sizes alone (`static`), and compared with eager float32 on
the CPU: `worst` in units of the variant's tolerance, `l2` as the distance over the reference's
norm. Worker processes trace at the same time and build `--builds` at a time, by default
with little effort: convolutions take TensorRT half a minute a model otherwise. What another machine traced
into STORE, for models that the torch there can't trace, is taken from it. Rows are kept in
benchmarks/results/gpu_models_trt.jsonl as they come; a second call goes on where the first stopped,
and gpu_models_trt.json sums them up.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import gpu_merged, results  # noqa: E402
from enginebundle.format.digest import digest_json  # noqa: E402
from enginebundle.format.spec import Profile, Range, Target  # noqa: E402
from enginebundle.storage.store import Store  # noqa: E402

if TYPE_CHECKING:
    from compiler.goldens.goldens import GoldenCase
    from compiler.program import Program

ROWS = results.FOLDER / "gpu_models_trt.jsonl"
LIMIT = 300.0
"""Seconds for one model."""
TURNS = Path(tempfile.gettempdir()) / "kiln-gpu-models-trt"
"""Locks, one for each build at a time, since more would only wait for each other; and timing caches."""


@dataclass(frozen=True)
class Model:
    """A traced model with its goldens. `seconds` is None where another machine traced it."""

    program: Program
    goldens: tuple[GoldenCase, ...]
    seconds: float | None


def trace(name: str) -> Model:
    from benchmarks import zoo
    from compiler.goldens.source import GoldenSource
    from compiler.pipeline import TraceRequest, trace_model
    from compiler.trace.source import Source

    start = time.perf_counter()
    entry = zoo.entry(name, True)
    kwargs = (("name", name), ("small", True))
    source = Source(entrypoint="benchmarks.zoo:build", kwargs=kwargs, search_path=(str(ROOT),))
    goldens = GoldenSource(entrypoint="benchmarks.zoo:goldens", kwargs=kwargs)
    found = trace_model(TraceRequest(source, entry.inputs, entry.profiles, goldens))
    return Model(found.program, found.goldens, round(time.perf_counter() - start, 1))


def keep(name: str, model: Model, store: Store) -> None:
    """Put a traced model into the store, for `traced`."""
    from compiler import program

    graph, weights = program.save(model.program, store)
    goldens = {case.name: store.put_blob(case.to_bytes()) for case in model.goldens}
    output = {"graph": graph, "weights": weights, "goldens": goldens}
    store.put_result(digest_json({"zoo": name}), {"output": output})


@functools.lru_cache(1)
def traced(name: str, folder: str | None) -> Model:
    """The model, from the store in `folder` if that has it; for both ways."""
    from compiler import program
    from compiler.goldens.goldens import GoldenCase

    if folder is None:
        return trace(name)
    store = Store.open(folder)
    record = store.result(digest_json({"zoo": name}))
    if record is None:
        return trace(name)
    kept = record["output"]
    goldens = (GoldenCase.from_bytes(n, store.read_blob(b)) for n, b in kept["goldens"].items())
    return Model(program.load(store, kept["graph"], kept["weights"]), tuple(goldens), None)


def profiles(name: str, way: str) -> tuple[Profile, ...]:
    """The model's profile, or for `static` one that has its opt sizes only."""
    from benchmarks import zoo

    found = zoo.entry(name, True).profiles
    if way == "dynamic":
        return found
    opt = found[0].at("opt")
    return (Profile("p", tuple((symbol, Range(n, n, n)) for symbol, n in opt.items())),)


@contextmanager
def turn(builds: int) -> Iterator[None]:
    """Wait until fewer than `builds` processes build."""
    TURNS.mkdir(exist_ok=True)
    with ExitStack() as stack:
        locks = [stack.enter_context((TURNS / str(n)).open("w")) for n in range(builds)]
        while not any(map(_locked, locks)):
            time.sleep(0.1)
        yield


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True)
class How:
    """`folder` as in `traced`, `builds` as in `turn`, `effort` as in a manifest; `timings` is a store for
    timing caches, which later builds start from."""

    folder: str | None
    builds: int
    effort: str
    timings: str


def measure(name: str, way: str, how: How) -> dict[str, Any]:
    """One model's row."""
    import tensorrt
    import torch

    from compiler.build.aids import Aids
    from compiler.pipeline import BuildRequest, build_program
    from enginebundle.serve.compare import compare
    from tests.gpu.execute import execute

    model = traced(name, how.folder)
    cases = [g for g in model.goldens if way == "dynamic" or g.name == "opt"]
    major, minor = torch.cuda.get_device_capability()
    target = Target.parse(f"trt:sm_{major}{minor}")
    job = BuildRequest(target, profiles(name, way), effort=how.effort)
    row: dict[str, Any] = {"trace_seconds": model.seconds, "effort": how.effort}
    with turn(how.builds):
        start = time.perf_counter()
        aids = Aids(Store.open(how.timings, create=True))
        built = build_program(model.program, job, tuple(cases), aids=aids)
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
            for spec, value in zip(model.program.graph.outputs, built.returns, strict=True):
                want, got = case.outputs[spec.name], found[value]
                worst = max(worst, compare(got, want, bounds[spec.name]).worst)
                if want.is_floating_point():
                    distance = (got.double() - want.double()).norm() / want.double().norm()
                    far = max(far, float(distance))
    row |= {"worst": worst, "l2": far}
    return row | {"state": "right" if worst <= 1 else "wrong"}


def worker(pairs: list[tuple[str, str]], how: How) -> None:
    """For each line of standard input, a list of numbers of `pairs`, a line with each one's row."""
    import tensorrt
    import torch

    from compiler.build.builder import process_builder

    torch.set_num_threads(2)
    process_builder(tensorrt)
    for line in sys.stdin:
        for number in json.loads(line):
            broken = False
            try:
                row = measure(*pairs[number], how)
            except Exception as error:  # noqa: BLE001  a row is the step here, and says what ended it
                row = {"state": "failed", "detail": f"{type(error).__name__}: {error}"[:500]}
                broken = isinstance(error, torch.AcceleratorError)
            print(json.dumps({"rows": [[number, row]]}), flush=True)
            if broken:  # and with it the context of CUDA, for all that would come after
                sys.exit(1)


def main() -> int:
    from benchmarks import zoo
    from compiler.build.effort import EFFORTS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [entry.name for entry in zoo.SWEEP]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--ways", nargs="+", default=["static", "dynamic"])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--builds", type=int, default=1, help="at a time")
    parser.add_argument("--effort", choices=EFFORTS, default="fast", help="of each build")
    parser.add_argument("--seconds", type=float, default=500.0)
    parser.add_argument("--timings", metavar="STORE", default=str(TURNS / "timings"))
    parser.add_argument("--traced", metavar="STORE", help="where models traced elsewhere are")
    parser.add_argument("--trace", action="store_true", help="only trace, into that store")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    pairs = [(name, way) for name in names for way in ("static", "dynamic")]
    if options.worker:
        worker(pairs, How(options.traced, options.builds, options.effort, options.timings))
        return 0
    if options.trace:
        store = Store.open(options.traced, create=True)
        for name in options.only:
            keep(name, trace(name), store)
        return 0
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []
    known = {(row["model"], row["way"]) for row in rows}
    wanted = [
        number
        for number, (name, way) in enumerate(pairs)
        if name in options.only and way in options.ways and (name, way) not in known
    ]
    command = [sys.executable, __file__, "--worker", "--builds", str(options.builds)]
    command += ["--effort", options.effort, "--timings", options.timings]
    command += ["--traced", options.traced] if options.traced else []
    with ROWS.open("a") as record:
        for number, row in gpu_merged.run(
            command, wanted, len(options.ways), options.workers, options.seconds, LIMIT
        ):
            name, way = pairs[number]
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
