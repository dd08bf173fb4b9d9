"""Evidence as a document, and the states of variants that follow from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

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


@pytest.mark.parametrize("name", ["trt:ampere_plus", "trt:sm_90_any"])
def test_an_engine_for_more_gpus_is_validated_where_it_was_run(name: str) -> None:
    target = Target.parse(name)
    hopper = replace(EVIDENCE, target=target, machine={"arch": "sm_90"})
    assert state(PROGRAM, target, [hopper], "sm_90") == "validated"
    assert state(PROGRAM, target, [hopper], "sm_80") == "pending"
    # Where nothing could open it, the state says whether it was proved anywhere.
    assert state(PROGRAM, target, [hopper], None) == "validated"
    wrong = replace(hopper, passed=False, machine={"arch": "sm_80"}, date="2999-01-01")
    assert state(PROGRAM, target, [hopper, wrong], "sm_90") == "validated"
    assert state(PROGRAM, target, [hopper, wrong], "sm_80") == "failed"


def test_with_a_version_only_evidence_measured_with_it_counts() -> None:
    target = Target.parse("trt:sm_90")
    toolchain = Toolchain((("tensorrt", "10.6.0"), ("torch", "2.13.0")))
    measured = replace(EVIDENCE, target=target, machine={"arch": "sm_90"}, toolchain=toolchain)
    assert state(PROGRAM, target, [measured], "sm_90", "10.6.0") == "validated"
    assert state(PROGRAM, target, [measured], "sm_90", "10.15.1.29") == "pending"
    assert state(PROGRAM, target, [measured], "sm_90") == "validated"
