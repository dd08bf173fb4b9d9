"""Proof of `trt:` targets on a GPU machine, in stages that each end within nine minutes.

    python benchmarks/gpu_trt.py               which stages there are, and which can run here
    python benchmarks/gpu_trt.py STAGE ...     run these, one after another
    python benchmarks/gpu_trt.py all

`make gpu-trt STAGE=...` is the same. A stage is a benchmark of its own that keeps its rows as they come,
so one that is cut off loses a row, and the same command goes on from there. A stage that can't run here
is skipped with the reason. Exit code: 0 if all stages passed that could run, 1 if one failed or was cut
off, 2 if a stage that was named can't run here.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from enginebundle.serve.machine import this_machine  # noqa: E402

SECONDS = 500.0
"""What a stage is told to take; it may end a little later."""
LIMIT = 535.0
"""When a stage that has not ended is stopped."""
GRACE = 5.0
FARM = ("ray", "pydantic", "yaml", "psutil", "rich", "cryptography")
"""What `kiln run` imports."""


@dataclass(frozen=True)
class Stage:
    """A benchmark that takes `--seconds`, the modules that it needs besides torch and TensorRT, and how it gets
    through its rows in few half-hours."""

    script: str
    shows: str
    modules: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


STAGES = {
    "operators": Stage("gpu_operators_trt.py", "every converter's cases", ("pytest",)),
    "models": Stage(
        "gpu_models_trt.py",
        "every model of the sweep",
        ("transformers", "timm"),
        ("--workers", "9", "--builds", "9"),
    ),
    "speed": Stage(
        "gpu_speed.py",
        "beside eager, Inductor and ONNX",
        ("transformers", "timm"),
        ("--ahead", "16"),
    ),
    "loader": Stage("gpu_loader.py", "calls through sessions", ("transformers", "timm")),
    "recurrent": Stage("gpu_recurrent.py", "recurrent layers as loops, right at every length"),
    "farm": Stage("gpu_farm.py", "`kiln run` on Ray, loaded again", (*FARM, "tensorrt_rtx")),
    "refit": Stage("gpu_refit.py", "weights apart: right, and at what cost", ("transformers",)),
    "timing-cache": Stage("gpu_timing_cache.py", "the second model of a family builds faster"),
    "compatibility": Stage("gpu_compatibility.py", "engines for more GPUs and versions"),
    "plugin": Stage("gpu_plugin.py", "an operator of one's own", FARM[1:]),
}


def obstacle(stage: Stage) -> str:
    """Why a stage can't run here; empty if it can."""
    if not (ROOT / "benchmarks" / stage.script).is_file():
        return f"this clone has no benchmarks/{stage.script}"
    if this_machine().arch is None:
        return "this machine has no CUDA GPU"
    missing = [m for m in ("tensorrt", *stage.modules) if importlib.util.find_spec(m) is None]
    return f"not installed here: {', '.join(missing)}" if missing else ""


def run(stage: Stage, seconds: float, limit: float) -> tuple[bool, str]:
    """Run a stage's benchmark in a process group of its own; whether it passed, and how it ended."""
    command = [sys.executable, f"benchmarks/{stage.script}", *stage.options]
    command += ["--seconds", f"{seconds:.0f}"]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    began = time.monotonic()
    child = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, start_new_session=True
    )
    try:
        code = child.wait(limit)
    except subprocess.TimeoutExpired:
        return False, f"cut off after {limit:.0f} s; the same command goes on from there"
    finally:
        _stop(child)
    took = f"{time.monotonic() - began:.0f} s"
    return code == 0, f"passed in {took}" if code == 0 else f"exit code {code} after {took}"


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the child's whole group, politely first."""
    if child.poll() is not None:
        return
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", nargs="*", choices=[*STAGES, "all", []], help="default: list them")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each stage")
    options = parser.parse_args()
    named = [name for name in options.stage if name != "all"]
    told = {}
    for name in STAGES if "all" in options.stage or not named else named:
        why = obstacle(STAGES[name])
        if why:
            told[name] = f"skipped: {why}"
        elif options.stage:
            print(f"== {name}: {STAGES[name].shows}", flush=True)
            passed, how = run(STAGES[name], options.seconds, options.seconds + LIMIT - SECONDS)
            told[name] = how if passed else f"FAILED: {how}"
        else:
            told[name] = f"can run: {STAGES[name].shows}"
    for name, how in told.items():
        print(f"{name:14} {how}")
    if any(how.startswith("FAILED") for how in told.values()):
        return 1
    return 2 if any(told[name].startswith("skipped") for name in named) else 0


if __name__ == "__main__":
    sys.exit(main())
