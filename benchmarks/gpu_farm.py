"""A whole farm on one GPU machine: traces and TensorRT-RTX builds on processors, TensorRT on the GPU.

    python benchmarks/gpu_farm.py [--seconds 480] [--folder FOLDER] [--fresh]

Runs `kiln run` on an embedded Ray with benchmarks/farm/manifest.yaml: `torch:cpu`, `rtx:sm_89` (built
there, proved nowhere) and `trt:` of this machine's GPU. Then it runs it again, which finds everything,
loads each bundle by its alias, and compares its answers with the eager model's. It writes
benchmarks/results/gpu_farm.json: the run's own results.json, a time line of its tasks, and the answers;
the exit code is 0 if all of it is as it should be. A run that was cut off goes on where it stopped.

Without a GPU it is a rehearsal: `trt:sm_90` is blocked, and nothing is written.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FARM = ROOT / "benchmarks" / "farm"
sys.path[:0] = [str(ROOT), str(FARM)]

from benchmarks import results  # noqa: E402
from enginebundle.serve.machine import this_machine  # noqa: E402
from enginebundle.storage.store import Store  # noqa: E402
from orchestrator.manifest.model import Model  # noqa: E402
from orchestrator.plan.task_id import TaskId  # noqa: E402
from orchestrator.report import record  # noqa: E402

WRITTEN_FOR = "trt:sm_90"
"""The target in the manifest, which is replaced by that of this machine's GPU."""


def run(folder: Path, manifest: Path, seconds: float) -> tuple[int, float]:
    """`kiln run`; (exit code, seconds). TimeoutExpired after `seconds`: the next call resumes."""
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(manifest)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *_path()])}
    began = time.monotonic()
    driver = subprocess.Popen(
        [*command, "--store", str(folder / "store"), "-o", "json"],
        cwd=folder, env=environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return driver.wait(seconds), time.monotonic() - began
    finally:
        if driver.poll() is None:
            driver.terminate()  # it ends its steps and its Ray
            driver.wait()


def _path() -> list[str]:
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


def timeline(
    store: Store, tasks: Mapping[str, Mapping[str, Any]], gpu: str
) -> list[dict[str, Any]]:
    """The steps that ran, by start: seconds since the first one's, where, and on what.

    Taken from their recorded results, which say when a step ended and how long its process took; the
    run's events say when it was handed out and when the driver heard of its end.
    """
    spans = []
    for name, task in tasks.items():
        record = store.result(task["key"]) if "key" in task else None
        if record is not None:
            made = record["provenance"]
            end = datetime.fromisoformat(made["date"])
            spans.append((end - timedelta(seconds=made["seconds"]), end, name, made["host"]))
    spans.sort()
    first = spans[0][0] if spans else datetime.min
    return [
        {
            "task": name,
            "start": round((start - first).total_seconds(), 2),
            "end": round((end - first).total_seconds(), 2),
            "host": host,
            "on": "gpu" if str(TaskId.parse(name).target) == gpu else "cpu",
        }
        for start, end, name, host in spans
    ]


def together(line: list[dict[str, Any]]) -> dict[str, Any]:
    """How much ran at once: the most steps on the GPU, and the seconds in which processors worked too."""
    marks = sorted({row[edge] for row in line for edge in ("start", "end")})
    most, both, busy = 0, 0.0, 0.0
    for left, right in itertools.pairwise(marks):
        now = [row["on"] for row in line if row["start"] <= left and right <= row["end"]]
        most = max(most, now.count("gpu"))
        busy += (right - left) * bool(now.count("gpu"))
        both += (right - left) * bool(now.count("gpu") and now.count("cpu"))
    return {
        "most_on_gpu_at_once": most,
        "gpu_busy_seconds": round(busy, 1),
        "gpu_and_processors_at_once_seconds": round(both, 1),
        "seconds": marks[-1] if marks else 0.0,
    }


def answers(store: Path, manifest: Path) -> list[dict[str, Any]]:
    """Each bundle by its alias, at the sizes of its profile, against the eager model."""
    from orchestrator.manifest.load import load

    return [_answer(store, model) for model in load(manifest).models]


def _answer(store: Path, model: Model) -> dict[str, Any]:
    import torch

    import enginebundle
    from compiler.trace.load import load_model
    from enginebundle.errors import BundleError
    from enginebundle.serve.compare import compare

    try:
        session = enginebundle.load(f"{store}/{model.name}:latest")
    except BundleError as error:
        return {"bundle": model.name, "target": "none", "worst": -1.0, "error": str(error)}
    eager = load_model(model.source)
    bounds, high = dict(session.variant.tolerances), dict(model.goldens.high)
    worst = largest = 0.0
    for point in ("min", "opt", "max"):
        sizes = model.profiles[0].at(point)
        generator = torch.Generator().manual_seed(7)
        feeds = {
            spec.name: torch.randint(0, high[spec.name], spec.sizes(sizes), generator=generator)
            if spec.dtype == "int64"
            else torch.randn(spec.sizes(sizes), generator=generator)
            for spec in model.inputs
        }
        with torch.no_grad():
            want = eager(**feeds)
        ((name, got),) = session(**feeds).items()
        found = compare(got.cpu(), want, bounds[name])
        worst, largest = max(worst, found.worst), max(largest, found.max_abs)
    return {
        "bundle": str(session.bundle.version),
        "target": str(session.target),
        "worst": worst,
        "max_abs": largest,
        "selection": [str(choice) for choice in session.selection],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(tempfile.gettempdir()) / "kiln-gpu-farm"
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--folder", type=Path, default=default, help="where its store and key lie")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier call made")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(options.folder, ignore_errors=True)
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["ENGINEBUNDLE_HOME"] = str(folder / "home")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    machine = this_machine()
    trt = f"trt:{machine.arch}" if machine.arch else WRITTEN_FOR
    manifest = folder / "manifest.yaml"
    manifest.write_text((FARM / "manifest.yaml").read_text().replace(WRITTEN_FOR, trt))
    shutil.copy(FARM / "farm_gpu_models.py", folder)

    end = time.monotonic() + options.seconds
    try:
        code, seconds = run(folder, manifest, options.seconds)
    except subprocess.TimeoutExpired:
        print(f"cut off after {options.seconds:.0f} s; the same command goes on from there")
        return 1
    store = Store.open(folder / "store")
    first = record.ids(store)[-1]
    made = record.results(store, first) or {}
    line = timeline(store, made.get("tasks", {}), trt if machine.arch else "")
    for row in line:
        print(f"{row['start']:7.1f} {row['end']:7.1f}  {row['on']:3}  {row['task']}")
    again, seconds_again = run(folder, manifest, max(60.0, end - time.monotonic()))
    second = record.results(store, record.ids(store)[-1]) or {}
    found = answers(folder / "store", manifest)
    for row in found:
        told = row.get("error") or row["selection"]
        print(f"{row['bundle']:18} {row['target']:10} worst {row['worst']:.4f}  {told}")
    figures = {
        "gpu": machine.gpu,
        "driver": machine.driver,
        "runtimes": dict(machine.runtimes),
        "kiln_run": {"exit_code": code, "seconds": round(seconds, 1), "totals": made.get("totals")},
        "again": {
            "exit_code": again,
            "seconds": round(seconds_again, 1),
            "kinds": sorted({task["kind"] for task in second.get("tasks", {}).values()}),
        },
        "together": together(line),
        "timeline": line,
        "answers": found,
        "results": made,
    }
    print(json.dumps({k: figures[k] for k in ("kiln_run", "again", "together")}, indent=1))
    wrong = list(faults(figures, trt if machine.arch else "torch:cpu", blocked=not machine.arch))
    for fault in wrong:
        print(f"WRONG: {fault}")
    if machine.arch:
        results.write("gpu_farm", figures | {"wrong": wrong}, show=False)
    else:
        print("no GPU: a rehearsal, nothing is written")
    return 1 if wrong else 0


def faults(figures: Mapping[str, Any], target: str, blocked: bool) -> Iterable[str]:
    """What is not as the farm promises."""
    wanted = 5 if blocked else 0
    states = {"torch:cpu": "validated", "rtx:sm_89": "pending"}
    for run in ("kiln_run", "again"):
        if figures[run]["exit_code"] != wanted:
            yield f"{run}: exit code {figures[run]['exit_code']}, expected {wanted}"
    if not set(figures["again"]["kinds"]) <= {"cached", "blocked"}:
        yield f"the second run did more than look: {figures['again']['kinds']}"
    for row in figures["results"].get("rows", ()):
        state = states.get(row["target"], "blocked" if blocked else "validated")
        if row["state"] != state:
            yield f"{row['model']} {row['target']}: {row['state']}, expected {state}; {row['why']}"
    for answer in figures["answers"]:
        if answer["target"] != target or not 0 <= answer["worst"] <= 1:
            yield f"{answer['bundle']} on {answer['target']}: worst {answer['worst']}"
    if figures["together"]["most_on_gpu_at_once"] > 1:
        yield "two steps had the GPU at once"
    if not blocked and not figures["together"]["gpu_and_processors_at_once_seconds"]:
        yield "nothing ran on processors while the GPU was busy"


if __name__ == "__main__":
    sys.exit(main())
