"""Evidence and heads as documents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enginebundle.errors import FormatError
from enginebundle.format.digest import canonical_json, digest_bytes, parse_json
from enginebundle.format.evidence import CaseResult, Evidence
from enginebundle.format.head import Head
from enginebundle.format.spec import Toolchain
from tests.enginebundle.examples import CPU, PROGRAM

EVIDENCE = Evidence(
    PROGRAM,
    CPU,
    True,
    {"arch": None, "cpu": "x"},
    Toolchain((("torch", "2.13.0"),)),
    (CaseResult("rows1", "y", 1e-7, 0.25, True), CaseResult("rows3", "y", 0.0, 0.0, True)),
    "2026-01-01T00:00:00+00:00",
)


def test_evidence_reads_back_as_itself() -> None:
    assert Evidence.from_bytes(EVIDENCE.to_bytes()) == EVIDENCE
    assert EVIDENCE.worst == 0.25


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ((), "says that it passed, but it has no cases"),
        ((replace(EVIDENCE.cases[0], passed=False),), "output 'y' of golden 'rows1' did not"),
        ((replace(EVIDENCE.cases[0], worst=1.5),), "did not: 1.5 of 1"),
        ((replace(EVIDENCE.cases[0], worst=-1.0),), "did not: -1 of 1"),
    ],
)
def test_evidence_that_contradicts_itself_is_refused(
    cases: tuple[CaseResult, ...], message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        Evidence.from_bytes(replace(EVIDENCE, cases=cases).to_bytes())
    failed = replace(EVIDENCE, cases=cases, passed=False)
    assert Evidence.from_bytes(failed.to_bytes()) == failed


def test_a_place_among_other_evidence_is_left_out_where_there_is_none() -> None:
    assert b"sequence" not in EVIDENCE.to_bytes()
    assert b"previous" not in EVIDENCE.to_bytes()
    placed = replace(EVIDENCE, sequence=7, previous=PROGRAM)
    assert Evidence.from_bytes(placed.to_bytes()) == placed
    assert placed.measured == EVIDENCE
    for wrong in (-1, 1.0, True, "7", 1 << 60):
        data = canonical_json(parse_json(EVIDENCE.to_bytes()) | {"sequence": wrong})
        with pytest.raises(FormatError, match="sequence: expected a number"):
            Evidence.from_bytes(data)


def test_a_head_reads_back_as_itself() -> None:
    head = Head(PROGRAM, CPU, 3, digest_bytes(b"evidence"))
    assert Head.from_bytes(head.to_bytes()) == head
    for change in ({"sequence": 0}, {"sequence": True}, {"evidence": "x"}, {"more": 1}):
        with pytest.raises(FormatError):
            Head.from_bytes(canonical_json(parse_json(head.to_bytes()) | change))
