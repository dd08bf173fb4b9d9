"""The lane: a sample that kills or hangs its worker becomes one row, and the rest goes on."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from tests.opinfo.lane import Piece, pieces, run
from tests.opinfo.samples import Sample, operators, samples

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


def test_done_samples_and_those_outside_the_share_are_left_out() -> None:
    every = [s.id for s in Piece("tril", "float32").todo()]
    fifth = [s.id for s in Piece("tril", "float32", share=5).todo()]
    twentyfifth = [s.id for s in Piece("tril", "float32", share=25).todo()]
    assert set(twentyfifth) < set(fifth) < set(every)
    assert 2 < len(every) / len(fifth) < 10
    done = frozenset(every[:4])
    assert {s.id for s in Piece("tril", "float32", done=done).todo()} == set(every) - done
    assert Piece("tril", "float32", share=10**9).todo() == []
    (one,) = Piece("tril", "float32", share=10**9, least=True).todo()
    assert one.id == samples("tril", "float32", 1)[0].id
    assert Piece("tril", "float32", 10**9, 10**9, True, frozenset({one.id})).todo() == []


def test_the_smallest_share_has_every_operator() -> None:
    dtypes = ("float32", "float16", "int64", "bool")
    made = [piece for piece in pieces(dict.fromkeys(dtypes, 20), 10**9, every=True) if piece.least]
    assert sorted(piece.op for piece in made) == sorted({op for d in dtypes for op in operators(d)})
    assert {piece.dtype for piece in made} > {"float32"}
    assert not any(piece.least for piece in pieces({"float32": 20}, 25))


def test_chosen_samples_are_a_share_of_all_and_the_same_each_time() -> None:
    all_, few = samples("tril", "float32"), samples("tril", "float32", 5)
    assert [s.id for s in few] == [s.id for s in samples("tril", "float32", 5)]
    assert {s.id for s in few} < {s.id for s in all_}
    assert all((a.tensors[0] == b.tensors[0]).all() for a in few for b in all_ if a.id == b.id)
