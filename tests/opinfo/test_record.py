"""The record of OpInfo's results, and the page generated from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.opinfo import page, record

ROWS = [
    {"sample": "abs/float32/0", "state": "converted", "reason": ""},
    {"sample": "abs/float32/1", "state": "converted", "reason": ""},
    {"sample": "abs/float32/7", "state": "torch", "reason": "too | hard"},
    {"sample": "linalg.svd/bool/3", "state": "excluded", "reason": "complex results"},
]


def test_rows_come_back_from_the_record(tmp_path: Path) -> None:
    record.write(ROWS, {"float32": None, "bool": 20}, tmp_path / "r.json")
    found = record.read(tmp_path / "r.json")
    assert found["samples_of_an_operator"] == {"float32": None, "bool": 20}
    assert {
        (f"{g.op}/{g.dtype}/{place}", g.state, g.reason)
        for g in record.groups(found)
        for place in g.places
    } == {(row["sample"], row["state"], row["reason"]) for row in ROWS}


@pytest.mark.parametrize("places", [[], [3], [0, 1, 2], [0, 2, 3, 9], [7, 1, 0]])
def test_ranges(places: list[int]) -> None:
    assert list(record.unranged(record.ranges(places))) == sorted(places)


@pytest.mark.parametrize(
    ("state", "was", "complaint"),
    [
        ("wrong", "wrong", "wrong"), ("wrong", None, "wrong"), ("torch", "converted", "was converted"),
        ("excluded", "constant", "was constant"), ("torch", "torch", ""), ("torch", None, ""),
        ("decomposed", "converted", ""), ("converted", "torch", ""),
    ],
)  # fmt: skip
def test_what_is_worse(state: str, was: str | None, complaint: str) -> None:
    row = {"sample": "abs/float32/0", "state": state, "reason": "because"}
    found = record.worse(row, {} if was is None else {"abs/float32/0": was})
    assert complaint in found
    assert bool(found) == bool(complaint)


def test_the_committed_page_is_what_the_record_gives() -> None:
    assert page.PATH.read_text() == page.text(), "run `make operators`"


def test_the_record_has_nothing_wrong() -> None:
    assert [g for g in record.groups(record.read()) if g.state == "wrong"] == []
