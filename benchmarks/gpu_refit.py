"""Weights apart on full TensorRT: are refitted engines right, and what do they cost?

    python benchmarks/gpu_refit.py [--seconds 500] [--only NAME ...] [--modes MODE ...]

On a machine with a GPU and TensorRT, for `trt:` of that GPU; fp16, batch 8, sequence 128. A row is a
model and a way to build its engine:

    whole       an engine with its weights, as without `refit`
    stripped    the product's: REFIT_INDIVIDUAL and STRIP_PLAN, opened by the product's loader
    refittable  the same without STRIP_PLAN
    all         REFIT: every constant can be refitted; measured as built

`error` is the L2 distance from eager float32 over its norm, `other_error` the same for the model with
other weights in the same engine, `apart` how far those two models are from each other, `from_whole` the
distance from the whole engine's output. `ms` is a call in a CUDA graph, median of three runs of 60.

One process a row. Rows are kept in benchmarks/results/gpu_refit.jsonl as they come; a second call goes
on where the first stopped, and gpu_refit.json sums them up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks import results, zoo  # noqa: E402
from benchmarks.zoo.entry import draw  # noqa: E402
from benchmarks.zoo.twelve import Field  # noqa: E402
from compiler.build.builder import EngineOptions, build_engine  # noqa: E402
from compiler.build.networks import BuildRequest, convert_program  # noqa: E402
from compiler.convert.library import REGISTRY  # noqa: E402
from compiler.lower import lower  # noqa: E402
from compiler.lower.capture import capture  # noqa: E402
from compiler.network.older import fitted  # noqa: E402
from compiler.network.refit import bindings  # noqa: E402
from compiler.program import Program, weights_from_bytes, weights_to_bytes  # noqa: E402
from compiler.trace.export import trace  # noqa: E402
from enginebundle.format.digest import digest_bytes  # noqa: E402
from enginebundle.format.spec import Profile, Range, Target  # noqa: E402
from enginebundle.format.variant import Segment  # noqa: E402
from enginebundle.runtimes import engine as runtime  # noqa: E402
from enginebundle.runtimes.dtypes import DTYPES  # noqa: E402

ROWS = results.FOLDER / "gpu_refit.jsonl"
MODELS = ("bert-base", "minilm-like", "vit-base", "resnet50")
MODES = ("whole", "stripped", "refittable", "all")
LIMIT = 240.0
"""Seconds for one row."""
SIZES = {"b": 8, "s": 128}
TRACED = {"b": Range(1, 8, 8), "s": Range(8, 64, 128)}
"""The engines are for SIZES alone; the graph holds for more."""


def make(name: str, seed: int) -> tuple[Any, zoo.Entry, Profile, Profile]:
    """A model with random weights, its entry in the zoo, the profile to build and that to trace.

    Each seed other than 0 changes every trained number by up to a tenth.
    """
    entry = zoo.entry("bert-base" if name == "minilm-like" else name)
    if name == "minilm-like":
        from transformers import BertConfig, BertModel

        torch.manual_seed(0)
        config = BertConfig(hidden_size=384, intermediate_size=1536)
        model = Field(BertModel(config, add_pooling_layer=False), "last_hidden_state").eval()
    else:
        model = zoo.build(name)
    symbols = entry.profiles[0].symbols
    fixed = Profile("p", tuple((s, Range(SIZES[s], SIZES[s], SIZES[s])) for s in symbols))
    wide = Profile("p", tuple((s, TRACED[s]) for s in symbols))
    if seed:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for label, tensor in [*model.named_parameters(), *model.named_buffers()]:
                if label.endswith(("_mean", "_var")) or isinstance(tensor, torch.nn.Parameter):
                    tensor *= 1 + 0.1 * torch.rand(tensor.shape, generator=generator)
    return model.eval(), entry, fixed, wide


def converted(name: str, seed: int, inputs: Mapping[str, Any]) -> Any:
    """The model's program, network, names of what a refit supplies, and eager float32 output."""
    import tensorrt

    model, entry, profile, wide = make(name, seed)
    started = time.perf_counter()
    lowered = lower(trace(model, entry.inputs, (wide,)), REGISTRY.ops(), precision="fp16")
    made = capture(lowered, entry.inputs)
    program = Program(made.graph, weights_from_bytes(weights_to_bytes(made.weights)))
    traced = time.perf_counter()
    request = BuildRequest(Target.parse("trt:sm_90"), (profile,), "fp16")
    parts = convert_program(program, request)
    (network,) = parts.networks
    network = fitted(network, tensorrt)
    bound = bindings(network, program.weights)
    seconds = {"trace": traced - started, "convert": time.perf_counter() - traced}
    where = {name: tensor.cuda() for name, tensor in inputs.items()}
    with torch.no_grad():
        want = _first(model.cuda()(**where)).float().cpu()
    return SimpleNamespace(
        graph=parts.parts.segments[0].graph, network=network, profile=profile, bound=bound,
        weights={**program.weights, **{n: bound.tensors[n] for n in bound.derived}},
        want=want, seconds={k: round(v, 1) for k, v in seconds.items()},
    )  # fmt: skip


def _first(output: Any) -> Any:
    return next(iter(output.values())) if isinstance(output, dict) else output


def inputs_of(name: str) -> dict[str, Any]:
    _, entry, _, _ = make(name, 0)
    generator = torch.Generator().manual_seed(1)
    return {s.name: draw(s, SIZES, entry.high, generator) for s in entry.inputs}


class Flagged:
    """TensorRT's module, with other flags behind the two names that the builder sets."""

    def __init__(self, trt: Any, mode: str) -> None:
        self._trt = trt
        flags = trt.BuilderFlag
        individual, strip = flags.REFIT_INDIVIDUAL, flags.STRIP_PLAN
        if mode == "refittable":
            strip = individual
        if mode == "all":
            individual = strip = flags.REFIT
        self.BuilderFlag = type(
            "Flags", (), {"TF32": flags.TF32, "REFIT_INDIVIDUAL": individual, "STRIP_PLAN": strip}
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trt, name)


def measure(name: str, mode: str) -> dict[str, Any]:
    import tensorrt

    inputs = inputs_of(name)
    own = converted(name, 0, inputs)
    row: dict[str, Any] = {"seconds": own.seconds, "bound": len(own.bound.tensors)}
    options = EngineOptions((own.profile,), refit=mode != "whole")
    started = time.perf_counter()
    engine = build_engine(Flagged(tensorrt, mode), own.network, own.graph, options, own.bound)
    row |= {"build_seconds": round(time.perf_counter() - started, 1), "bytes": len(engine)}
    supplied = own.weights if mode in ("stripped", "refittable") else {}
    keep = Path(tempfile.gettempdir()) / f"gpu-refit-{name}.pt"
    row |= opened(tensorrt, engine, own, supplied, inputs, keep, mode)
    if supplied:
        other = converted(name, 1, inputs)
        same = other.bound.names == own.bound.names
        again = opened(tensorrt, engine, other, other.weights, inputs, None, mode)
        row |= {f"other_{key}": again[key] for key in ("error", "ms", "open_seconds")}
        row |= {"apart": far(other.want, own.want), "same_names": same}
        fine = same and max(row["error"], row["other_error"]) < min(0.02, row["apart"] / 4)
    else:
        fine = row["error"] < 0.02
    return row | {"state": "right" if fine else "wrong"}


def opened(
    trt: Any, engine: Any, made: Any, weights: Mapping[str, Any], inputs: Mapping[str, Any],
    keep: Path | None, mode: str,
) -> dict[str, Any]:  # fmt: skip
    """Open with the loader's own code, compare with eager, measure in a CUDA graph."""
    described = Segment(
        "engine", digest_bytes(engine), None, made.graph.inputs, made.graph.outputs, ("p",)
    )
    if mode == "all":  # open as built: the loader would refuse a refittable engine without weights
        runtime.refit = lambda *_: ""
    torch.cuda.synchronize()
    started = time.perf_counter()
    run = runtime.Engine(trt, engine, described, weights)
    row: dict[str, Any] = {"open_seconds": round(time.perf_counter() - started, 2)}
    got = next(iter(run(inputs, "p").values())).float().cpu()
    row["error"] = far(got, made.want)
    if keep is not None and mode == "whole":
        torch.save(got, keep)
    elif keep is not None and keep.exists():
        row["from_whole"] = far(got, torch.load(keep, weights_only=True))
    if run._engine.refittable:
        refitter = trt.Refitter(run._engine, run._logger)
        listed = set(refitter.get_all_weights())
        unlisted = sorted(made.bound.tensors.keys() - listed)
        row |= {"listed": len(listed), "unlisted": len(unlisted), "unlisted_first": unlisted[:4]}
    return row | {"ms": in_graph(trt, run._engine, inputs)}


def far(got: Any, want: Any) -> float:
    """The L2 distance over the norm of what was wanted."""
    return float((got.double() - want.double()).norm() / want.double().norm())


def in_graph(trt: Any, engine: Any, inputs: Mapping[str, Any]) -> float:
    """Milliseconds of a call in a CUDA graph: the median of three runs of 60."""
    context = engine.create_execution_context()
    held = {name: tensor.cuda().contiguous() for name, tensor in inputs.items()}
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    for name in names:
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            assert context.set_input_shape(name, tuple(held[name].shape))
    for name in names:
        if name not in held:
            dtype = getattr(torch, DTYPES[engine.get_tensor_dtype(name).name])
            shape = tuple(context.get_tensor_shape(name))
            held[name] = torch.empty(shape, dtype=dtype, device="cuda")
        context.set_tensor_address(name, held[name].data_ptr())
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(5):
            assert context.execute_async_v3(stream.cuda_stream)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        assert context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
    found = []
    for _ in range(3):
        graph.replay()
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(60):
            graph.replay()
        torch.cuda.synchronize()
        found.append((time.perf_counter() - started) / 60 * 1000)
    return round(sorted(found)[1], 4)


def in_process(arguments: list[str], limit: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--row", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"state": "cut off", "detail": f"took over {limit:.0f} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"')]
    if done.returncode == 0 and lines:
        row: dict[str, Any] = json.loads(lines[-1])
        return row
    talk = done.stderr.strip().splitlines() or [""]
    return {
        "state": "failed",
        "detail": f"exit code {done.returncode}: {' | '.join(talk[-3:])[:800]}",
    }


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--seconds", type=float, default=500.0)
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(measure(*options.row)))
        return 0
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []
    known = {tuple(row["row"]) for row in rows}
    wanted = [[m, mode] for m in options.only for mode in options.modes]
    end = time.monotonic() + options.seconds
    ROWS.parent.mkdir(exist_ok=True)
    with ROWS.open("a") as record:
        for arguments in wanted:
            left = end - time.monotonic()
            if tuple(arguments) in known or left < 20:
                continue
            row = in_process(arguments, min(LIMIT, left))
            if row["state"] == "cut off" and left < LIMIT:
                continue  # the end of this call cut it off: the next one tries it again
            rows.append({"row": arguments} | row)
            record.write(json.dumps(rows[-1]) + "\n")
            record.flush()
            print(json.dumps(rows[-1])[:600], flush=True)
    results.write("gpu_refit", {"rows": rows}, show=False)
    left_over = [a for a in wanted if tuple(a) not in {tuple(row["row"]) for row in rows}]
    print(f"{len(rows)} rows; left for the next call: {left_over}")
    return 0 if not left_over and all(row["state"] == "right" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
