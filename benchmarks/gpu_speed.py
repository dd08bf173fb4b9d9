"""Nine models on full TensorRT: ours beside the ONNX path, Inductor and eager, in milliseconds a call.

    python benchmarks/gpu_speed.py [--seconds 500] [--only NAME ...] [--paths PATH ...] [--precision fp16]
    python benchmarks/gpu_speed.py --ahead 8 [--only-build] ...                # engines 8 at a time, then rows
    python benchmarks/gpu_speed.py --experiment NAME ... [--only resnet50]     # benchmarks/speed/experiments.py
    python benchmarks/gpu_speed.py --rehearse [--only NAME ...]                # without a GPU
    python benchmarks/gpu_speed.py --table                                     # of the rows that exist

Batch 8, sequence 128, one GPU. A row is a model, a precision, a path and the number of a build:

    ours, ours-dynamic        built by this compiler, for batch 8 or for 1 to 16
    onnx, onnx-dynamic        torch.onnx.export(dynamo=True) and TensorRT's parser, a fp16 model in half
    inductor[-dynamic]        torch.compile; dynamic=True and another batch first
    eager
    onnx-border               on request: ONNX with float32 inputs and outputs, cast inside, as ours has
    inductor-marked, -tuned   on request: only the batch dynamic; max-autotune-no-cudagraphs

`plain_ms` is a call enqueued by itself, `graph_ms` one in a CUDA graph, `loader_ms` and `loader_graph_ms` one
through the loader's runtime, without and with CUDA graphs of its own. `l2` is the largest distance of an output
from eager float32 over its norm: a row that is off by more than 0.05 (fp16) or 1e-4 (fp32; nothing uses TF32)
is wrong and its time counts for nothing.

Rows are kept in benchmarks/results/gpu_speed.jsonl as they come; a second call goes on where the first
stopped, the most telling rows first, and gpu_speed.json sums them up. What each engine's layers are and
take, of its first build, is written to benchmarks/results/gpu_speed_layers. Exit code 0 if nothing is left
and all are right.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402
from benchmarks.speed import measure, table, worker  # noqa: E402
from benchmarks.speed.experiments import EXPERIMENTS  # noqa: E402
from benchmarks.speed.rows import BUILDS, MORE, PATHS, PRECISIONS, Key, Record, keys  # noqa: E402
from benchmarks.speed.subjects import SUBJECTS  # noqa: E402

ROWS = results.FOLDER / "gpu_speed.jsonl"
WORK = {
    "measure": measure.measure,
    "rehearse": measure.rehearse,
    "build": measure.build_engine,
}
LIMIT = 240.0
"""Seconds for one row."""
LEAST = 45.0
"""A row is not begun with less time left."""


def arguments() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    add = parser.add_argument
    add("--only", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS), metavar="MODEL")
    add("--paths", nargs="+", type=_path, default=[], metavar="PATH")
    add("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    add("--builds", type=int, default=BUILDS, help="of each engine")
    add("--experiment", nargs="+", choices=list(EXPERIMENTS), default=[], help="of ours, static")
    add("--seconds", type=float, default=500.0)
    add(
        "--ahead",
        type=int,
        default=0,
        metavar="N",
        help="first build engines, N at a time, for half of the seconds",
    )
    add("--only-build", action="store_true", help="with --ahead: measure nothing")
    add("--again", action="store_true", help="rows that failed, too")
    add("--rehearse", action="store_true", help="what needs no GPU: trace, convert, export")
    add("--table", action="store_true", help="only sum up the rows that exist")
    add("--worker", choices=list(WORK), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.paths += [f"ours+{name}" for name in options.experiment]
    options.paths = options.paths or list(PATHS)
    return options


def _path(text: str) -> str:
    base, plus, experiment = text.partition("+")
    if (base in PATHS or base in MORE) and not plus:
        return text
    if base in ("ours", "ours-dynamic") and experiment in EXPERIMENTS:
        return text
    known = ", ".join((*PATHS, *MORE, "ours+EXPERIMENT", "ours-dynamic+EXPERIMENT"))
    raise argparse.ArgumentTypeError(f"no path {text!r}; there are {known}")


def main() -> int:
    options = arguments()
    if options.worker:
        worker.serve(WORK[options.worker])
        return 0
    record = Record(ROWS)
    if options.table:
        return sum_up(record)
    builds = 1 if options.rehearse else options.builds
    wanted = keys(options.only, options.precision, options.paths, builds)
    end = time.monotonic() + options.seconds
    if options.ahead:
        build(options, [key for key in wanted if key.is_engine and key not in record.rows])
    if options.only_build:
        return 0
    left = run(options, record, wanted, end)
    if options.rehearse:
        return 0
    failed = sum_up(record)
    print(f"{len(record.rows)} rows; {left} left for the next call")
    return 1 if left or failed else 0


def build(options: argparse.Namespace, keys: list[Key]) -> None:
    """Several engines at a time, before any of them is timed. A build that fails does so again as a row."""
    command = [sys.executable, __file__, "--worker", "build"]
    wanted = [key for key in keys if not measure.obstacle(key)]
    for key, row in worker.together(command, wanted, options.ahead, options.seconds / 2):
        print(f"{key.model} {key.precision} {key.path} #{key.build}: {_said(row)}", flush=True)


def run(options: argparse.Namespace, record: Record, wanted: list[Key], end: float) -> int:
    """Measure what is not known yet, or rehearse, until `end`. Returns how many rows are left."""
    child = [sys.executable, __file__, "--worker"]
    command = [*child, "rehearse" if options.rehearse else "measure"]
    workers = {is_engine: worker.Worker(command) for is_engine in (False, True)}
    left = 0
    skipped: dict[tuple[str, str], list[Key]] = {}
    exports = [
        key
        for key in wanted
        if key.source == "onnx" and key.build == 1 and not measure.obstacle(key)
        and key not in record.rows
    ]  # fmt: skip
    exporter = worker.ahead([*child, "rehearse"], exports) if exports else None
    for key in wanted:
        known = record.rows.get(key)
        if not options.rehearse:
            if known is not None and (known["state"] == "right" or not options.again):
                continue
            if why := measure.obstacle(key):
                skipped.setdefault((key.source, why), []).append(key)
                continue
        seconds = min(LIMIT, end - time.monotonic())
        if seconds < LEAST:
            left += 1
            continue
        row = workers[key.is_engine].ask(key, seconds)
        if row["state"] == "cut off" and seconds < LIMIT:
            left += 1  # the end of this call cut it off, not the row's own length
            continue
        if not options.rehearse:
            record.add(key, row)
        print(f"{key.model} {key.precision} {key.path} #{key.build}: {_said(row)}", flush=True)
    for one in workers.values():
        one.end()
    if exporter is not None:
        exporter.kill()
    for (source, why), those in skipped.items():
        print(f"skipped {len(those)} rows of {source}: {why}")
    return left + sum(map(len, skipped.values()))


def _said(row: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items())[:400]


def sum_up(record: Record) -> int:
    """Write gpu_speed.json and print the table. Returns how many rows are not right."""
    summed = table.summary(record.rows)
    others = [row for row in record.rows.values() if row["state"] != "right"]
    figures = {
        "models": summed, "behind": table.missed(summed), "not_right": others,
        "rows": list(record.rows.values()),
    }  # fmt: skip
    if record.rows:
        results.write("gpu_speed", figures, show=False)
        print(table.text(summed))
        print("behind: " + ("; ".join(figures["behind"]) or "nowhere"))
    return len([row for row in others if "+" not in row["path"]])


if __name__ == "__main__":
    sys.exit(main())
