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


def changed(**fields: object) -> bytes:
    return canonical_json(parse_json(EVIDENCE.to_bytes()) | fields)


def with_case(**fields: object) -> bytes:
    cases = parse_json(EVIDENCE.to_bytes())["cases"]
    return changed(cases=[cases[0] | fields, *cases[1:]])


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (changed(format="enginebundle.evidence/0"), "expected a document of format '"),
        (changed(index="sha256:0"), "index: expected sha256"),
        (changed(target=3), "target: expected text, got int"),
        (changed(passed=1), "passed: expected true or false"),
        (changed(machine=[]), "evidence: machine must be an object"),
        (changed(cases={}), "cases: expected a list"),
        (changed(date=2026), "date: expected text, got int"),
        (changed(previous="sha256:0"), "previous: expected sha256"),
        (changed(previous=None), "previous: expected sha256"),
        (changed(note=1), r"enginebundle.evidence/1: missing keys \[\], unknown keys \['note'\]"),
        (changed(cases=[[]]), "case: expected an object"),
        (with_case(golden=1), "golden: expected text, got int"),
        (with_case(output=None), "output: expected text, got NoneType"),
        (with_case(max_abs="0"), "max_abs: expected a number, got '0'"),
        (with_case(worst=True), "worst: expected a number, got True"),
        (with_case(passed="yes"), "passed: expected true or false, got 'yes'"),
        (with_case(more=1), r"case: missing keys \[\], unknown keys \['more'\]"),
        (EVIDENCE.to_bytes() + b"\n", "evidence: expected canonical JSON"),
        (changed(sequence=0), "evidence: expected canonical JSON"),
        (b" " * (16 << 20) + b"{}", "enginebundle.evidence/1: 16777218 bytes, expected at most"),
    ],
)
def test_a_malformed_document_is_refused_by_the_field_that_is_wrong(
    document: bytes, what: str
) -> None:
    with pytest.raises(FormatError, match=f"^{what}"):
        Evidence.from_bytes(document)


@pytest.mark.parametrize("key", sorted(parse_json(EVIDENCE.to_bytes()).keys() - {"format"}))
def test_a_field_that_is_not_there_is_named(key: str) -> None:
    document = parse_json(EVIDENCE.to_bytes())
    del document[key]
    with pytest.raises(FormatError, match=rf"missing keys \['{key}'\]"):
        Evidence.from_bytes(canonical_json(document))


@pytest.mark.parametrize("key", ["golden", "output", "max_abs", "worst", "passed"])
def test_a_field_that_a_case_lacks_is_named(key: str) -> None:
    document = parse_json(EVIDENCE.to_bytes())
    del document["cases"][0][key]
    with pytest.raises(FormatError, match=rf"^case: missing keys \['{key}'\]"):
        Evidence.from_bytes(canonical_json(document))


def test_the_document_is_the_one_of_the_format() -> None:
    document = parse_json(replace(EVIDENCE, sequence=1, previous=PROGRAM).to_bytes())
    assert document == {
        "format": "enginebundle.evidence/1",
        "index": PROGRAM,
        "target": str(CPU),
        "passed": True,
        "machine": {"arch": None, "cpu": "x"},
        "toolchain": EVIDENCE.toolchain.to_json(),
        "cases": [
            {"golden": "rows1", "output": "y", "max_abs": 1e-7, "worst": 0.25, "passed": True},
            {"golden": "rows3", "output": "y", "max_abs": 0.0, "worst": 0.0, "passed": True},
        ],
        "date": "2026-01-01T00:00:00+00:00",
        "sequence": 1,
        "previous": PROGRAM,
    }


@pytest.mark.parametrize("sequence", [1, 2**53 - 1])
def test_a_sequence_counts_from_one_to_what_every_reader_of_json_keeps(sequence: int) -> None:
    placed = replace(EVIDENCE, sequence=sequence)
    assert Evidence.from_bytes(placed.to_bytes()) == placed
    with pytest.raises(FormatError, match="sequence: expected a number"):
        Evidence.from_bytes(changed(sequence=2**53))


@pytest.mark.parametrize("worst", [0.0, 1.0])
def test_a_case_passes_up_to_its_bound(worst: float) -> None:
    placed = replace(EVIDENCE, cases=(replace(EVIDENCE.cases[0], worst=worst),))
    assert Evidence.from_bytes(placed.to_bytes()) == placed
