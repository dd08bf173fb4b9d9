"""The twelve architectures, cut down: one engine each, every node converted, numbers right."""

from __future__ import annotations

import pytest

from benchmarks import coverage, zoo

SMALL = [entry.name for entry in zoo.SMALL]


@pytest.mark.parametrize("name", SMALL)
def test_small_architecture_is_one_engine_with_dynamic_sizes(name: str) -> None:
    row = coverage.run(name, small=True, target="rtx:sm_89")
    assert "failed" not in row, row["failed"]
    assert row["ok"], row


def test_the_table_shows_failures_and_what_stays_in_torch() -> None:
    good = {
        "model": "a", "nodes": 7, "converted": 6, "engine_segments": 1, "torch_segments": 1,
        "trace_seconds": 1.0, "build_seconds": 2.0,
        "build_cpu_seconds": 3.0, "engine_bytes": 3_000_000,
        "errors": {p: {"max_abs": 0.0, "worst": 0.1} for p in coverage.POINTS},
        "kept": [{"op": "aten.nonzero.default", "count": 1, "detail": "no layer"}],
    }  # fmt: skip
    assert not coverage.is_ok(good)
    text = coverage.table([good | {"ok": False}, {"model": "b", "ok": False, "failed": "boom"}])
    assert "a: 1 x aten.nonzero.default in torch: no layer" in text
    assert "b: boom" in text
