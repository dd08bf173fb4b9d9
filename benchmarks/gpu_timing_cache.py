"""How much faster does the second model of a family build with the first one's timing cache?

    python benchmarks/gpu_timing_cache.py [--seconds 560] [--repeats 1] [--only resnet bert effort]

On a machine with a GPU and TensorRT, for `trt:` of that GPU. Of each family (ResNet-50 then -101,
BERT-base then -large; random weights, batch 8, fp16) the second model is built with an empty store
(`without`) and with the store in which the first one was built (`with`), by the product's own build
step and without a cache of engines. `build` are the seconds of that step, `tactics` those from
TensorRT's first sign of progress to its last. The rows `effort` build the first model anew with each
effort.

One process a row, one build at a time. Rows are kept in benchmarks/results/gpu_timing_cache.jsonl as
they come; a second call goes on where the first stopped, and gpu_timing_cache.json sums them up.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402

ROWS = results.FOLDER / "gpu_timing_cache.jsonl"
FIRSTS = Path.home() / ".cache" / "kiln-timing-cache"
"""Stores in which the first models were built; made again where they are gone."""
FAMILIES = {"resnet": ("resnet50", "resnet101"), "bert": ("bert-base", "bert-large")}
BATCH = 8
_BERT = {
    "bert-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "bert-large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
}


def entry(name: str, small: bool) -> Any:
    """The model in the zoo's form, at static sizes."""
    from benchmarks.zoo.entry import Entry
    from benchmarks.zoo.libraries import timm, transformers
    from benchmarks.zoo.twelve import Field, Image
    from enginebundle.format.spec import DEFAULT_PROFILE, Profile, TensorSpec

    profiles = (Profile(DEFAULT_PROFILE, ()),)
    if name.startswith("resnet"):
        side, cut = (64, {"layers": (1, 1, 1, 1)}) if small else (224, {})
        inputs = (TensorSpec("image", "float32", (BATCH, 3, side, side)),)
        return Entry(name, lambda: Image(timm().create_model(name, **cut)), inputs, profiles, {})
    given = {
        "vocab_size": 30522,
        **_BERT[name],
        "intermediate_size": 4 * _BERT[name]["hidden_size"],
    }
    if small:
        given |= {"vocab_size": 200, "num_hidden_layers": 1}
    package = transformers()

    def build() -> Any:
        model = package.BertModel(package.BertConfig(**given), add_pooling_layer=False)
        return Field(model, "last_hidden_state")

    inputs = tuple(TensorSpec(n, "int64", (BATCH, 128)) for n in ("input_ids", "attention_mask"))
    high = {"input_ids": given["vocab_size"] - 1, "attention_mask": 1}
    return Entry(name, build, inputs, profiles, high)


def build(name: str, small: bool = False) -> Any:
    """Entrypoint: the model with seeded weights."""
    import torch

    from benchmarks.zoo.entry import enliven

    chosen = entry(name, small)
    torch.manual_seed(0)
    return enliven(chosen, chosen.build())


def measure(name: str, folder: Path, effort: str, target: str, small: bool) -> dict[str, Any]:
    """Build the model with the timing caches of the store in `folder`."""
    from compiler.build.aids import Aids
    from compiler.pipeline import BuildRequest, TraceRequest, build_program, trace_model
    from compiler.trace.source import Source
    from enginebundle.format.spec import Target
    from enginebundle.storage.store import Store

    source = Source(
        entrypoint="benchmarks.gpu_timing_cache:build",
        kwargs=(("name", name), ("small", small)),
        search_path=(str(ROOT),),
    )
    chosen = entry(name, small)
    start = time.perf_counter()
    traced = trace_model(TraceRequest(source, chosen.inputs, chosen.profiles, None, "fp16"))
    row: dict[str, Any] = {"trace": round(time.perf_counter() - start, 1)}
    store = Store.open(folder, create=True)
    told: list[float] = []

    def listen(_: Any) -> bool:
        told.append(time.perf_counter())
        return True

    request = BuildRequest(Target.parse(target), chosen.profiles, "fp16", effort=effort)
    start = time.perf_counter()
    built = build_program(traced.program, request, aids=Aids(store, listen))
    row["build"] = round(time.perf_counter() - start, 2)
    row["tactics"] = round(told[-1] - told[0], 2) if told else None
    (engine,) = built.segments
    size = len(engine.engine) if engine.engine is not None else 0
    row |= {"engine_mb": round(size / 1e6, 1), "torch_nodes": built.report["torch_nodes"]}
    noted = dict(engine.notes)
    if noted.get("tactics"):
        row["layers"] = len(json.loads(store.read_blob(noted["tactics"])))
    cache = noted.get("timing_cache", {})
    if cache.get("after"):
        row["cache_kb"] = round(len(store.read_blob(cache["after"])) / 1e3)
    return row | {"state": "built", "notes": noted}


def in_process(name: str, folder: Path, effort: str, options: Any, limit: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--row", name, str(folder), effort]
    command += [*(["--target", options.target] if options.target else [])]
    command += [*(["--small"] if options.small else [])]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"state": "cut off", "detail": f"took over {limit:.0f} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"')]
    if lines:
        row: dict[str, Any] = json.loads(lines[-1])
        return row
    talk = done.stderr.strip().splitlines() or [""]
    return {"state": "failed", "detail": f"exit code {done.returncode}: {talk[-1][:1000]}"}


def plan(options: Any) -> list[dict[str, Any]]:
    """The rows that are wanted, in the order in which they tell the most."""
    wanted = []
    for repeat in range(options.repeats):
        for family, (first, second) in FAMILIES.items():
            if family in options.only:
                wanted += [
                    {"family": family, "model": model, "way": way, "effort": "default"}
                    | {"repeat": repeat}
                    for model, way in ((first, "first"), (second, "with"), (second, "without"))
                ]
    if "effort" in options.only:
        wanted += [
            {"family": family, "model": first, "way": "effort", "effort": effort, "repeat": 0}
            for family, (first, _) in FAMILIES.items()
            for effort in ("fast", "max")
        ]
    return wanted


def one(row: dict[str, Any], options: Any, limit: float) -> dict[str, Any]:
    """Measure one row, in a store of its own that begins as the row wants it."""
    kept = FIRSTS / f"{row['family']}-{row['repeat']}"
    first = FAMILIES[row["family"]][0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "store"
        if row["way"] == "first":
            shutil.rmtree(kept, ignore_errors=True)
            folder = kept
        elif row["way"] == "with":
            if not kept.exists():  # another machine than the one that built it
                again = in_process(first, kept, "default", options, limit)
                if again["state"] != "built":
                    return again
            shutil.copytree(kept, folder)
        found = in_process(row["model"], folder, row["effort"], options, limit)
        if row["way"] == "first" and found["state"] != "built":
            shutil.rmtree(kept, ignore_errors=True)
        return found


def ratios(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each family: medians of the second model's seconds, without and with the first's cache."""

    def seconds(family: str, way: str, what: str) -> float | None:
        found = [r[what] for r in rows if (r["family"], r["way"]) == (family, way) and r.get(what)]
        return round(statistics.median(found), 2) if found else None

    result: dict[str, Any] = {}
    for family in FAMILIES:
        result[family] = {}
        for what in ("build", "tactics"):
            without, having = seconds(family, "without", what), seconds(family, "with", what)
            ratio = round(without / having, 2) if without and having else None
            result[family][what] = {"without": without, "with": having, "ratio": ratio}
    return result


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*FAMILIES, "effort"]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=560.0)
    parser.add_argument("--target", help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        name, folder, effort = options.row
        target = options.target or f"trt:{results.gpu().rpartition(' ')[2]}"
        print(json.dumps(measure(name, Path(folder), effort, target, options.small)))
        return 0
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []
    keys = ("family", "model", "way", "effort", "repeat")
    known = {tuple(row[key] for key in keys) for row in rows}
    end = time.monotonic() + options.seconds
    with ROWS.open("a") as record:
        for row in plan(options):
            left = end - time.monotonic()
            if tuple(row[key] for key in keys) in known or left < 30:
                continue
            found = one(row, options, left)
            if found["state"] == "cut off":  # the next call tries again
                print(json.dumps(row | found), flush=True)
                continue
            rows.append(row | found)
            record.write(json.dumps(rows[-1]) + "\n")
            record.flush()
            print(json.dumps({k: v for k, v in rows[-1].items() if k != "notes"}), flush=True)
    figures = {"ratios": ratios(rows), "gpu": None, "rows": rows}
    if not options.target:
        figures |= {"gpu": results.gpu(), "tensorrt": _version()}
    print(json.dumps(figures["ratios"], indent=1))
    results.write("gpu_timing_cache", figures, show=False)
    return 0 if len(rows) >= len(plan(options)) else 1


def _version() -> str:
    import tensorrt

    return str(tensorrt.__version__)


if __name__ == "__main__":
    sys.exit(main())
