"""The lane: a sample that kills or hangs its worker becomes one row, and the rest goes on."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from tests.opinfo.lane import Piece, run
from tests.opinfo.samples import Sample, samples

PIECES = [Piece("tril", "float32", 5), Piece("abs", "bool")]


@dataclass(frozen=True)
class Judged:
    sample: str
    state: str = "converted"
    reason: str = ""
    fatal: bool = False


def cruel(sample: Sample) -> Judged:
    """The piece's second sample kills the process, the fourth hangs."""
    order = [s.id for s in samples("tril", "float32", 5)]
    if sample.id == order[1]:
        os._exit(3)
    if sample.id == order[3]:
        time.sleep(60)
    return Judged(sample.id)


def raising(sample: Sample) -> Judged:
    raise ValueError(f"not {sample.index}")


def retiring(sample: Sample) -> Judged:
    return Judged(sample.id, "differs", str(os.getpid()), fatal=True)


def test_every_sample_gets_a_row_whatever_becomes_of_its_worker() -> None:
    rows = list(run(PIECES, cruel, 2, seconds=2.0))
    found = {row["sample"]: row for row in rows}
    assert len(found) == len(rows)
    assert set(found) == {s.id for piece in PIECES for s in piece.todo()}
    order = [found[s.id] for s in samples("tril", "float32", 5)]
    assert [row["state"] for row in order] == [
        "converted",
        "wrong",
        "converted",
        "torch",
        "converted",
    ]
    assert "exit code 3" in order[1]["reason"]
    assert "not done within 2 s" in order[3]["reason"]


def test_what_the_judge_raises_is_a_row() -> None:
    rows = list(run([Piece("abs", "bool")], raising, 1))
    assert rows
    assert all(row["state"] == "wrong" and row["reason"].startswith("ValueError") for row in rows)


def test_a_worker_retires_after_a_fatal_row_and_loses_nothing() -> None:
    rows = list(run([Piece("tril", "float32", 3)], retiring, 1))
    assert [row["state"] for row in rows] == ["differs"] * 3
    assert len({row["reason"] for row in rows}) == 3


def test_done_samples_and_other_fifths_are_left_out() -> None:
    every = {s.id: s.fifth for s in Piece("tril", "float32").todo()}
    parts = [[s.id for s in Piece("tril", "float32", share=k).todo()] for k in range(5)]
    assert sorted(i for part in parts for i in part) == sorted(every)
    assert all(every[i] == k for k, part in enumerate(parts) for i in part)
    done = frozenset(list(every)[:4])
    assert {s.id for s in Piece("tril", "float32", done=done).todo()} == set(every) - done


def test_chosen_samples_are_a_share_of_all_and_the_same_each_time() -> None:
    all_, few = samples("tril", "float32"), samples("tril", "float32", 5)
    assert [s.id for s in few] == [s.id for s in samples("tril", "float32", 5)]
    assert {s.id for s in few} < {s.id for s in all_}
    assert all((a.tensors[0] == b.tensors[0]).all() for a in few for b in all_ if a.id == b.id)
