"""After any edit, the plan rebuilds the steps that read what changed, and no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.edits.workspace import Workspace
from tests.e2e.kiln import ROOT

LIGHT = "tests.e2e.edits.trace_all:light"


def trace_all(workspace: Workspace, store: Path, function: str = LIGHT) -> dict[str, Any]:
    own = workspace.environment()
    inherited = {name: value for name, value in os.environ.items() if name != "SCALE"}
    own["PYTHONPATH"] = os.pathsep.join((own["PYTHONPATH"], str(ROOT)))
    program = [sys.executable, "-m", "tests.e2e.edits.trace_all"]
    done = subprocess.run(
        [*program, str(workspace.root / "ws/m.yaml"), str(store), function],
        env=inherited | own,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def check(tmp_path: Path, edits: int, seed: int) -> None:
    workspace, store = Workspace(tmp_path / "w", seed), tmp_path / "store"
    seen: dict[str, set[str]] = {model: set() for model in workspace.order}
    what = "the first run"
    for number in range(edits + 1):
        state, reads = workspace.state(), workspace.reads()
        expected = sorted(model for model in reads if reads[model] not in seen[model])
        found = trace_all(workspace, store)
        assert found["built"] == expected, (number, what, found["why"])
        assert {m: r["text"] for m, r in found["results"].items()} == state, (number, what)
        for model, read in reads.items():
            seen[model].add(read)
        what = workspace.edit()


def test_twenty_edits(tmp_path: Path) -> None:
    check(tmp_path, edits=20, seed=1)


@pytest.mark.slow
def test_two_hundred_edits(tmp_path: Path) -> None:
    check(tmp_path, edits=200, seed=0)
