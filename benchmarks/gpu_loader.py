"""Calls through the loader on a GPU, beside the engine alone and what a user would pick instead.

    python benchmarks/gpu_loader.py [host | start | calls [MODEL ...] | threads] [--seconds 500]

On a machine with a GPU and full TensorRT, fp16, engines for a batch of 1 to 16, from bundles in a store, called by
`session(...)`. Tensors lie on the GPU. Engines are those of gpu_speed.py, if that has built them.

    calls     at batch 1 and 8, in one process: through the loader with CUDA graphs and without, the engine alone
              in a graph, the ONNX path's in a graph, Inductor with its default settings and in a graph, eager
    host      microseconds until a call of an empty engine returns, whose work is not waited for: p50 and p99
    threads   eight threads call one session for a minute, each its own inputs; then eight processes do,
              each its own session: calls a second, wrong answers, the GPU's memory before and after
    start     a new process loads a bundle and has its first answer: seconds without importing torch and
              TensorRT, and the most host memory that it took, over the engine's bytes

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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402
from enginebundle.format.digest import digest_bytes  # noqa: E402
from enginebundle.format.index import Index  # noqa: E402
from enginebundle.format.spec import (  # noqa: E402
    Profile,
    Target,
    TensorSpec,
    Tolerance,
    Toolchain,
)
from enginebundle.format.variant import Part, Segment, Variant  # noqa: E402
from enginebundle.storage.store import Store  # noqa: E402
from enginebundle.storage.trust import default_signer  # noqa: E402

Specs = tuple[TensorSpec, ...]

MODELS = ("resnet50", "vit-base", "bert-base", "minilm-like")
BATCHES = (1, 8)
FOLDER = Path(tempfile.gettempdir()) / "kiln-gpu-loader"
"""Stores of what was built, so that a later call builds it no more."""
SECONDS = 60.0
"""Of `threads`."""
RECORD = results.FOLDER / "gpu_loader.json"


def bundle(name: str) -> str:
    """A reference to a model's bundle, which is built on the first call."""
    from benchmarks.speed import engines
    from benchmarks.speed.rows import Key
    from benchmarks.speed.subjects import SUBJECTS

    folder = FOLDER / name
    if not (folder / "done").exists():
        key = Key(name, "fp16", "ours-dynamic")
        made = engines.made(key)
        inputs, profile = SUBJECTS[name].described("fp16", True)
        outputs = engines.traced(Key(name, "fp16", "ours-dynamic", 0)).graph.outputs
        returns = tuple(made.outputs[spec.name] for spec in outputs)
        publish(
            folder,
            name,
            bytes(made.engine),
            (inputs, outputs),
            Part(("p",), (made.segment,), returns),
            profile,
        )
        (folder / "done").touch()
    return f"{folder}/{name}@1"


def publish(
    folder: Path, name: str, engine: bytes, specs: tuple[Specs, Specs], part: Part, profile: Profile
) -> None:
    """One version with one variant for this GPU, signed with this machine's key."""
    import tensorrt
    import torch

    store = Store.open(folder, create=True)
    store.put_blob(engine)
    inputs, outputs = specs
    major, minor = torch.cuda.get_device_capability()
    variant = Variant(
        Target.parse(f"trt:sm_{major}{minor}"),
        Toolchain((("tensorrt", str(tensorrt.__version__)),)),
        "fp16",
        tuple((spec.name, Tolerance(0.1, 0.1)) for spec in outputs),
        (part,),
    )
    index = Index(
        name, inputs, outputs, (profile,), (), (variant,), ((digest_bytes(engine), len(engine)),),
        digest_bytes(b"benchmark"),
    )  # fmt: skip
    raw = index.to_bytes()
    store.publish(name, raw, default_signer().sign(raw))


def opened(name: str, cuda_graphs: bool = True) -> Any:
    import enginebundle

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

    from benchmarks.speed import engines
    from benchmarks.speed.clock import Raw, apart, milliseconds, plain_and_graph
    from benchmarks.speed.rows import Key
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
    (segment,) = plain.variant.parts[0].segments
    raw = Raw(trt, plain.bundle.read(segment.blob), given)
    row |= {f"engine_{n}": v for n, v in plain_and_graph(raw).items()}
    del raw, plain, graphs
    onnx = Raw(trt, engines.made(Key(name, "fp16", "onnx-dynamic")).engine, {
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


def empty() -> str:
    """A bundle whose engine doubles its one number."""
    import tensorrt as trt

    folder = FOLDER / "empty" / str(os.getpid())
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    x = network.add_input("x", trt.float32, (1,))
    y = network.add_elementwise(x, x, trt.ElementWiseOperation.SUM).get_output(0)
    y.name = "y"
    network.mark_output(y)
    engine = bytes(builder.build_serialized_network(network, builder.create_builder_config()))
    given, made = ((TensorSpec(n, "float32", (1,)),) for n in "xy")
    segment = Segment("engine", digest_bytes(engine), None, given, made, ("p",))
    part = Part(("p",), (segment,), ("y",))
    publish(folder, "empty", engine, (given, made), part, Profile("p", ()))
    return f"{folder}/empty@1"


def threads(name: str) -> dict[str, Any]:
    """Eight threads on one session, then eight processes with one each, the same work."""
    import torch

    session = opened(name)
    before = _serve(session, 8, 2.0)  # warm
    held = torch.cuda.memory_allocated()
    found = _serve(session, 8, SECONDS)
    after = torch.cuda.memory_allocated()
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
        "gpu_bytes": [held, after],
    }


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


_START = """
import resource, sys, time
import torch, tensorrt, safetensors, numpy
torch.zeros(1, device="cuda")
def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, start = most(), time.perf_counter()
import enginebundle
session = enginebundle.load(sys.argv[1], allow_pending=True, cuda_graphs=True)
given = torch.load(sys.argv[2])
found = session(**given)
found = {n: t.cpu() for n, t in found.items()}
print(time.perf_counter() - start, most() - before)
"""


def start(name: str) -> dict[str, Any]:
    """Three new processes; inputs are on the CPU."""
    import torch

    session = opened(name)
    (segment,) = session.variant.parts[0].segments
    size = dict(session.bundle.index.blobs)[segment.blob]
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        torch.save({n: t.cpu() for n, t in feeds(session, 1).items()}, file.name)
        command = [sys.executable, "-c", _START, bundle(name), file.name]
        found = [
            subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(3)
        ]
    pairs = [tuple(map(float, one.stdout.split()[-2:])) for one in found]
    return {
        "seconds": sorted(round(seconds, 3) for seconds, _ in pairs),
        "host_bytes_over_engine": sorted(round(taken / size, 2) for _, taken in pairs),
        "engine_bytes": size,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=("host", "start", "calls", "threads", "one"))
    parser.add_argument("models", nargs="*", default=list(MODELS), help="of `calls`")
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
    end = time.monotonic() + options.seconds
    rows: dict[str, Any] = json.loads(RECORD.read_text())["rows"] if RECORD.is_file() else {}
    wanted: dict[str, Callable[[], dict[str, Any]]] = {
        "host": host,
        "start": lambda: start(options.model),
    }
    for name in options.models:
        for batch in BATCHES:
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
