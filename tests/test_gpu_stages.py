"""`make gpu-trt`, as far as a machine without a GPU can show it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_farm, gpu_trt
from enginebundle.serve.machine import this_machine

ROOT = Path(__file__).resolve().parents[1]
NO_GPU = pytest.mark.skipif(this_machine().arch is not None, reason="this machine has a GPU")


def make(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-s", "gpu-trt", f"PYTHON={sys.executable}", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@NO_GPU
def test_it_says_what_it_skips_and_why() -> None:
    listed = make()
    assert listed.returncode == 0, listed.stderr
    lines = dict(line.split(None, 1) for line in listed.stdout.splitlines())
    assert lines.keys() == gpu_trt.STAGES.keys()
    assert lines["operators"] == "skipped: this machine has no CUDA GPU"
    every = make("STAGE=all")
    assert (every.returncode, every.stdout) == (0, listed.stdout)
    named = make("STAGE=plugin")
    assert named.returncode != 0, "what was asked for by name did not run"
    assert named.stdout == "plugin         skipped: this machine has no CUDA GPU\n"


def test_a_stage_that_this_clone_lacks_is_no_failure() -> None:
    assert gpu_trt.obstacle(gpu_trt.Stage("gpu_nothing.py", "")) == (
        "this clone has no benchmarks/gpu_nothing.py"
    )


@pytest.mark.parametrize(
    ("body", "limit", "passed", "how"),
    [
        ("sys.exit(0)", 60.0, True, "passed in "),
        ("sys.exit(3)", 60.0, False, "exit code 3 after "),
        ("time.sleep(600)", 2.0, False, "cut off after 2 s; the same command goes on from there"),
    ],
)
def test_a_stage_passes_fails_or_is_cut_off(
    body: str, limit: float, passed: bool, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "benchmarks").mkdir()
    script = tmp_path / "benchmarks" / "stage.py"
    script.write_text(f"import sys, time\nassert sys.argv[1:] == ['--seconds', '1']\n{body}\n")
    monkeypatch.setattr(gpu_trt, "ROOT", tmp_path)
    assert script.is_file()
    ended, told = gpu_trt.run(gpu_trt.Stage("stage.py", ""), 1.0, limit)
    assert (ended, told.startswith(how)) == (passed, True), told


def test_a_time_line_tells_what_ran_together() -> None:
    line = [
        {"on": "gpu", "start": 1.0, "end": 4.0},
        {"on": "cpu", "start": 0.0, "end": 2.5},
        {"on": "gpu", "start": 4.0, "end": 5.0},
    ]
    assert gpu_farm.together(line) == {
        "most_on_gpu_at_once": 1,
        "gpu_busy_seconds": 4.0,
        "gpu_and_processors_at_once_seconds": 1.5,
        "seconds": 5.0,
    }
    line[2]["start"] = 3.5
    assert gpu_farm.together(line)["most_on_gpu_at_once"] == 2
    assert gpu_farm.together([])["seconds"] == 0.0
