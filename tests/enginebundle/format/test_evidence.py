"""Evidence as a document, and the states of variants that follow from it."""

from __future__ import annotations

from dataclasses import replace

from enginebundle.format.digest import digest_bytes
from enginebundle.format.evidence import CaseResult, Evidence, state
from enginebundle.format.spec import Target, Toolchain
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


def test_state_comes_from_evidence_for_exactly_this_index_and_target() -> None:
    older = replace(EVIDENCE, passed=False, date="2000-01-01T00:00:00+00:00")
    newer = replace(EVIDENCE, passed=False, date="2999-01-01T00:00:00+00:00")
    other = digest_bytes(b"other")
    assert state(PROGRAM, CPU, []) == "pending"
    assert state(PROGRAM, CPU, [older]) == "failed"
    assert state(PROGRAM, CPU, [older, EVIDENCE]) == "validated"
    assert state(PROGRAM, CPU, [EVIDENCE, newer]) == "failed"
    assert state(other, CPU, [EVIDENCE]) == "pending"
    assert state(PROGRAM, Target.parse("rtx:sm_89"), [EVIDENCE]) == "pending"


def test_evidence_counts_on_the_architectures_it_was_taken_on() -> None:
    group = Target.parse("rtx:sm_80+sm_86")
    unlisted = replace(EVIDENCE, target=group, machine={"arch": "sm_90"})
    assert state(PROGRAM, group, [unlisted], "sm_80") == "pending"
    assert state(PROGRAM, group, [unlisted], "sm_90") == "validated"
    assert state(PROGRAM, group, [replace(unlisted, machine={"arch": "sm_86"})]) == "validated"
    assert state(PROGRAM, group, [replace(unlisted, machine={})], None) == "pending"
