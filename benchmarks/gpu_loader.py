"""Calls through the loader on a GPU, beside the engine alone and what a user would pick instead.

    python benchmarks/gpu_loader.py [build | host | start | calls [MODEL ...] | threads] [--seconds 500]

On a machine with a GPU and full TensorRT, fp16, from bundles with engines for batch 1, for batch 8 and for 1 to 16,
called by `session(...)`. Tensors lie on the GPU. Engines are those of gpu_speed.py, if that has built them.

    build     all engines, several at a time; otherwise each is built when it is needed first
    calls     at batch 1 and 8, in one process: through the loader with CUDA graphs and without, the engine alone
              in a graph, the ONNX path's in a graph, Inductor with its default settings and in a graph, eager
    host      microseconds until a call of an empty engine returns, whose work is not waited for: p50 and p99
    threads   eight threads call one session for a minute, each its own inputs; then eight processes do,
              each its own session: calls a second, wrong answers, the GPU's memory before and after
    start     a new process loads a bundle and has its first answer: seconds without importing torch and
              TensorRT, and the most host memory that it took, over the engine's bytes; Inductor beside it, with its
              cache and without

Rows are kept in benchmarks/results/gpu_loader.json as they come; what is there is not measured again. Exit code 1 if
rows are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402

MODELS = ("resnet50", "vit-base", "bert-base", "minilm-like")
SECONDS = 60.0
"""Of `threads`."""
RECORD = results.FOLDER / "gpu_loader.json"
AHEAD = 10
"""Builds at a time."""


def opened(name: str, cuda_graphs: bool = True) -> Any:
    import enginebundle
    from benchmarks.speed.bundles import bundle

    return enginebundle.load(bundle(name), allow_pending=True, cuda_graphs=cuda_graphs)


def feeds(session: Any, batch: int) -> dict[str, Any]:
    """Inputs on the GPU, as the bundle declares them."""
    import torch

    from benchmarks.speed.subjects import SUBJECTS

    given = SUBJECTS[session.version.name].feeds(batch)
    return {
        spec.name: given[spec.name].to(getattr(torch, spec.dtype)).cuda() for spec in session.inputs
    }


def eager(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Float32 without TF32, on the GPU."""
    import torch

    from benchmarks.speed.subjects import build, named

    with torch.no_grad():
        return named(
            build(name).cuda()(
                **{n: t.float() if t.is_floating_point() else t for n, t in given.items()}
            )
        )


def calls(name: str, batch: int) -> dict[str, Any]:
    """A row: milliseconds of a call, back to back on one stream, and how far answers are from eager's."""
    import tensorrt as trt
    import torch

    from benchmarks.speed import bundles, engines
    from benchmarks.speed.clock import Raw, apart, milliseconds, plain_and_graph
    from benchmarks.speed.subjects import build

    plain, graphs = opened(name, False), opened(name, True)
    given = feeds(plain, batch)
    right = eager(name, given)
    row: dict[str, Any] = {}
    with torch.cuda.stream(torch.cuda.Stream()):
        for label, session in (("loader", plain), ("loader_graphs", graphs)):
            for _ in range(3):
                found = session(**given)
            row |= {
                f"{label}_l2": apart(found, right),
                f"{label}_ms": milliseconds(lambda s=session: s(**given)),
            }
    (segment,) = plain.variant.part(f"b{batch}").segments
    raw = Raw(trt, plain.bundle.read(segment.blob), given)
    row |= {f"engine_{n}": v for n, v in plain_and_graph(raw).items()}
    del raw, plain, graphs
    onnx = Raw(trt, engines.made(bundles.others(name)[batch]).engine, {
        n: t.half() if t.is_floating_point() else t for n, t in given.items()
    })  # fmt: skip
    row |= {f"onnx_{n}": v for n, v in plain_and_graph(onnx).items()}
    del onnx
    model = build(name, True).cuda()
    half = {n: t.half() if t.is_floating_point() else t for n, t in given.items()}
    with torch.no_grad():
        for label, call in (("eager", model), ("inductor", torch.compile(model, dynamic=False))):
            call(**half)
            row |= {f"{label}_{n}": v for n, v in plain_and_graph(lambda c=call: c(**half)).items()}
    others = [
        row[n] for n in row if n.startswith(("eager", "inductor")) and n.endswith("_ms") and row[n]
    ]
    return row | {
        "over_its_graph_us": round(1000 * (row["loader_graphs_ms"] - row["engine_graph_ms"]), 1),
        "allowed_us": round(30 * row["engine_graph_ms"] + 15, 1),
        "fastest_other_ms": min(others),
    }


def host() -> dict[str, Any]:
    """Around an engine that does next to nothing, on tensors of one element."""
    import torch

    import enginebundle
    from benchmarks.speed.bundles import empty

    reference = empty()
    row: dict[str, Any] = {}
    for cuda_graphs in (False, True):
        session = enginebundle.load(reference, allow_pending=True, cuda_graphs=cuda_graphs)
        x = torch.ones(1, device="cuda")
        took = []
        with torch.cuda.stream(torch.cuda.Stream()):
            for turn in range(20_000):
                start = time.perf_counter_ns()
                session(x=x)
                took.append(time.perf_counter_ns() - start)
                if turn % 16 == 15:  # so that the GPU's queue is never full
                    torch.cuda.synchronize()
        took = sorted(took[1000:])
        row["graphs" if cuda_graphs else "plain"] = {
            f"p{share}_us": round(took[len(took) * share // 100] / 1000, 2)
            for share in (50, 90, 99)
        }
    return row | {"load_average": os.getloadavg()}


def threads(name: str) -> dict[str, Any]:
    """Eight threads on one session, then eight processes with one each, the same work."""
    import torch

    session = opened(name)
    before = _serve(session, 8, 2.0)  # warm
    held = _used()
    found = _serve(session, 8, SECONDS)
    after = _used()
    del session
    torch.cuda.empty_cache()
    command = [sys.executable, __file__, "one", "--model", name]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    alone = [json.loads(p.communicate()[0].splitlines()[-1]) for p in running]
    total = sum(one["calls_a_second"] for one in alone)
    return {
        "threads": found,
        "warm": before,
        "processes_calls_a_second": round(total, 1),
        "processes_wrong": sum(one["wrong"] for one in alone),
        "ratio": round(found["calls_a_second"] / total, 3),
        "gpu_and_host_bytes": [held, after],
    }


def _used() -> list[int]:
    """Bytes of the GPU's memory, whoever has them, and of this process's."""
    import psutil
    import torch

    free, total = torch.cuda.mem_get_info()
    return [total - free, psutil.Process().memory_info().rss]


def _serve(session: Any, count: int, seconds: float) -> dict[str, Any]:
    """Calls a second of so many threads, and how many answers were not those of the same inputs before."""
    import torch

    given = [feeds(session, batch) for batch in (8, 1, 4, 2, 8, 1, 4, 2)[:count]]
    right = [{n: t.clone() for n, t in session(**one).items()} for one in given]
    torch.cuda.synchronize()
    counts, wrong = [0] * count, [0] * count
    end = time.monotonic() + seconds

    def work(place: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            while time.monotonic() < end:
                got = session(**given[place])
                torch.cuda.current_stream().synchronize()
                counts[place] += 1
                if counts[place] % 8 == 0:
                    near = all(
                        torch.allclose(got[n], t, 0.02, 0.02) for n, t in right[place].items()
                    )
                    wrong[place] += not near

    running = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    return {"calls_a_second": round(sum(counts) / seconds, 1), "wrong": sum(wrong), "calls": counts}


def start(name: str) -> dict[str, Any]:
    """Three new processes of each kind; inputs are on the CPU."""
    import torch

    from benchmarks.speed.bundles import bundle

    session = opened(name)
    (segment,) = session.variant.part("b1").segments
    size = dict(session.bundle.index.blobs)[segment.blob]
    script = str(ROOT / "benchmarks/speed/starts.py")
    with tempfile.TemporaryDirectory() as folder:
        inputs = f"{folder}/inputs.pt"
        torch.save({n: t.cpu() for n, t in feeds(session, 1).items()}, inputs)

        def new(kind: str, what: str, cache: str = "") -> list[float]:
            own = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
            own |= {"TORCHINDUCTOR_CACHE_DIR": cache} if cache else {}
            command = [sys.executable, script, kind, what, inputs]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=own)
            return [float(number) for number in done.stdout.split()[-2:]]

        ours = [new("bundle", bundle(name)) for _ in range(3)]
        cold = [new("inductor", name, f"{folder}/{n}") for n in range(2)]
        warm = [new("inductor", name, f"{folder}/0") for _ in range(3)]
    return {
        "seconds": sorted(round(seconds, 3) for seconds, _ in ours),
        "host_bytes_over_engine": sorted(round(taken / size, 2) for _, taken in ours),
        "engine_bytes": size,
        "inductor_seconds": sorted(round(seconds, 3) for seconds, _ in cold),
        "inductor_with_its_cache_seconds": sorted(round(seconds, 3) for seconds, _ in warm),
    }


def build(models: Sequence[str]) -> dict[str, Any]:
    """All engines, by the workers of gpu_speed.py. The seconds of each."""
    from benchmarks.speed import bundles, worker

    keys = [
        key
        for name in models
        for key in (*bundles.keys(name).values(), *bundles.others(name).values())
    ]
    command = [sys.executable, str(ROOT / "benchmarks/gpu_speed.py"), "--worker", "build"]
    rows = worker.together(command, keys, AHEAD, 540.0)
    return {f"{key.model} {key.path} {key.batch}": row for key, row in rows}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "part", nargs="?", choices=("build", "host", "start", "calls", "threads", "one")
    )
    parser.add_argument("models", nargs="*", default=list(MODELS), help="of `calls` and `build`")
    parser.add_argument("--model", default="bert-base", help="of the other parts")
    parser.add_argument("--seconds", type=float, default=500.0)
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("this machine has no CUDA GPU")
        return 2
    if options.part == "one":
        print(json.dumps(_serve(opened(options.model), 8, SECONDS)))
        return 0
    if options.part == "build":
        for label, row in build(options.models).items():
            print(label, json.dumps(row)[:200], flush=True)
        return 0
    end = time.monotonic() + options.seconds
    rows: dict[str, Any] = json.loads(RECORD.read_text())["rows"] if RECORD.is_file() else {}
    wanted: dict[str, Callable[[], dict[str, Any]]] = {
        "host": host,
        "start": lambda: start(options.model),
    }
    for name in options.models:
        for batch in (1, 8):
            wanted[f"calls {name} {batch}"] = lambda name=name, batch=batch: calls(name, batch)
    wanted["threads"] = lambda: threads(options.model)
    if options.part:
        wanted = {
            label: run for label, run in wanted.items() if label.partition(" ")[0] == options.part
        }
    for label, run in wanted.items():
        if time.monotonic() > end or label in rows:
            continue
        rows[label] = run()
        print(label, json.dumps(rows[label]), flush=True)
        results.write("gpu_loader", {"gpu": results.gpu(), "rows": rows}, show=False)
    return int(any(label not in rows for label in wanted))


if __name__ == "__main__":
    sys.exit(main())
