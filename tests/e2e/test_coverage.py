"""Architectures cut down: one engine each, every node converted, numbers right."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks import coverage, sweep, zoo
from benchmarks.forked import Failed, run_forked

SMALL = ["bert-base", "gpt2", "mobilenetv3", "swin_tiny"]
OF_THE_SWEEP = ["deberta-v2", "mixtral", "t5", "detr", "wav2vec2", "swinv2"]
"""Decoders, experts, boxes, sound and windows; `make sweep` runs all 290, `make coverage` twelve at full size."""


@pytest.fixture(scope="module")
def rows() -> dict[str, coverage.Row]:
    """All from one process, which imports and then forks for each."""
    command = [sys.executable, sweep.__file__, "--json", "--only", *SMALL, *OF_THE_SWEEP]
    done = subprocess.run(command, cwd=sweep.ROOT, capture_output=True, text=True, timeout=600)
    assert done.stdout, done.stderr
    return {row["model"]: row for row in json.loads(done.stdout)}


@pytest.mark.parametrize("name", [*SMALL, *OF_THE_SWEEP])
def test_small_architecture_is_one_engine_with_dynamic_sizes(
    rows: dict[str, coverage.Row], name: str
) -> None:
    assert "failed" not in rows[name], rows[name]["failed"]
    assert rows[name]["ok"], rows[name]


def test_the_table_shows_failures_and_what_stays_in_torch() -> None:
    good = {
        "model": "a", "nodes": 7, "converted": 6, "engine_segments": 1, "torch_segments": 1,
        "trace_seconds": 1.0, "build_seconds": 2.0,
        "build_cpu_seconds": 3.0, "engine_bytes": 3_000_000,
        "errors": {p: {"max_abs": 0.0, "worst": 0.1} for p in coverage.POINTS},
        "kept": [{"op": "aten.nonzero.default", "count": 1, "detail": "no layer", "node": "nonzero_1",
                  "file": "m.py", "line": 7}],
        "responds": True,
    }  # fmt: skip
    assert not coverage.is_ok(good)
    whole = good | {"converted": 7, "torch_segments": 0}
    assert coverage.is_ok(whole)
    assert not coverage.is_ok(whole | {"responds": False})
    text = coverage.table([good | {"ok": False}, {"model": "b", "ok": False, "failed": "boom"}])
    assert "a: 1 x aten.nonzero.default in torch: no layer (nonzero_1 at m.py:7)" in text
    assert "b: boom" in text


def test_the_sweep_tells_what_does_not_export_from_what_fails() -> None:
    def refused(model: str, kind: str) -> dict[str, object]:
        return {"model": model, "ok": False, "refused": {"kind": kind, "code": "", "message": ""}}

    rows = [
        {"model": "a", "ok": True, "fixed": []},
        {"model": "aa", "ok": True, "fixed": ["s"]},
        {"model": "b", "ok": False, "fixed": ["s"]},
        refused("c", "TraceRefused"),
        refused("d", "InaccurateBuild"),
    ]
    found = sweep.summary(rows)
    assert found == {
        "whole": ["a"], "fixed": ["aa"], "partly": ["b"], "not_traced": ["c"], "failed": ["d"]
    }  # fmt: skip
    assert [entry.name for entry in zoo.SWEEP if entry.fixed] == [
        "funnel", "canine", "mamba", "rwkv", "longt5",
    ]  # fmt: skip


def test_rows_of_models_that_did_not_run_stay() -> None:
    before = [{"model": name, "date": "old"} for name in ("t5", "bert-base", "gone")]
    rows = [{"model": name, "date": "new"} for name in ("mamba", "t5")]
    kept = [(row["model"], row["date"]) for row in sweep.with_kept(rows, before)]
    assert kept == [("bert-base", "old"), ("mamba", "new"), ("t5", "new")]


def test_whatever_happens_in_a_fork_is_a_value() -> None:
    def refuse() -> None:
        raise KeyError("no such model")

    assert run_forked(lambda: {"rows": 3}, 20) == {"rows": 3}
    assert run_forked(refuse, 20) == Failed("KeyError", "", "'no such model'")
    assert run_forked(lambda: os.kill(os.getpid(), signal.SIGKILL), 20).kind == "Died"
    assert run_forked(lambda: time.sleep(60), 0.2).kind == "Timeout"
