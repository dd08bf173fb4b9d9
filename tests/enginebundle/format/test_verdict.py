"""The states of variants that follow from evidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from enginebundle.format.digest import digest_bytes
from enginebundle.format.evidence import CaseResult
from enginebundle.format.spec import Target, Toolchain
from enginebundle.format.verdict import Missing, State, verdict
from tests.enginebundle.examples import CPU, PROGRAM
from tests.enginebundle.format.test_evidence import EVIDENCE

PASS = replace(EVIDENCE, sequence=1)
FAIL = replace(EVIDENCE, sequence=2, passed=False)


@pytest.fixture
def local_time() -> Iterator[Callable[[str], None]]:
    """Lets this machine be in a zone for one test."""
    with pytest.MonkeyPatch.context() as patch:

        def be_in(zone: str) -> None:
            patch.setenv("TZ", zone)
            time.tzset()

        yield be_in
    time.tzset()


def state_of(*arguments: Any, **more: Any) -> State:
    return verdict(*arguments, **more).state


def test_state_comes_from_evidence_for_exactly_this_index_and_target() -> None:
    older = replace(EVIDENCE, passed=False, date="2000-01-01T00:00:00+00:00")
    newer = replace(EVIDENCE, passed=False, date="2999-01-01T00:00:00+00:00")
    other = digest_bytes(b"other")
    assert state_of(PROGRAM, CPU, []) == "pending"
    assert state_of(PROGRAM, CPU, [older]) == "failed"
    assert state_of(PROGRAM, CPU, [older, EVIDENCE]) == "validated"
    assert state_of(PROGRAM, CPU, [EVIDENCE, newer]) == "failed"
    assert state_of(other, CPU, [EVIDENCE]) == "pending"
    assert state_of(PROGRAM, Target.parse("rtx:sm_89"), [EVIDENCE]) == "pending"


def test_evidence_counts_on_the_architectures_it_was_taken_on() -> None:
    group = Target.parse("rtx:sm_80+sm_86")
    unlisted = replace(EVIDENCE, target=group, machine={"arch": "sm_90"})
    assert state_of(PROGRAM, group, [unlisted], "sm_80") == "pending"
    assert state_of(PROGRAM, group, [unlisted], "sm_90") == "validated"
    assert state_of(PROGRAM, group, [replace(unlisted, machine={"arch": "sm_86"})]) == "validated"
    assert state_of(PROGRAM, group, [replace(unlisted, machine={})], None) == "pending"


@pytest.mark.parametrize("name", ["trt:ampere_plus", "trt:sm_90_any"])
def test_an_engine_for_more_gpus_is_validated_where_it_was_run(name: str) -> None:
    target = Target.parse(name)
    hopper = replace(EVIDENCE, target=target, machine={"arch": "sm_90"})
    assert state_of(PROGRAM, target, [hopper], "sm_90") == "validated"
    assert state_of(PROGRAM, target, [hopper], "sm_80") == "pending"
    # Where nothing could open it, the state says whether it was proved anywhere.
    assert state_of(PROGRAM, target, [hopper], None) == "validated"
    wrong = replace(hopper, passed=False, machine={"arch": "sm_80"}, date="2999-01-01")
    assert state_of(PROGRAM, target, [hopper, wrong], "sm_90") == "validated"
    assert state_of(PROGRAM, target, [hopper, wrong], "sm_80") == "failed"


def test_with_a_version_only_evidence_measured_with_it_counts() -> None:
    target = Target.parse("trt:sm_90")
    toolchain = Toolchain((("tensorrt", "10.6.0"), ("torch", "2.13.0")))
    measured = replace(EVIDENCE, target=target, machine={"arch": "sm_90"}, toolchain=toolchain)
    assert state_of(PROGRAM, target, [measured], "sm_90", "10.6.0") == "validated"
    assert state_of(PROGRAM, target, [measured], "sm_90", "10.15.1.29") == "pending"
    assert state_of(PROGRAM, target, [measured], "sm_90") == "validated"


def test_the_number_decides_not_the_date() -> None:
    """Nor what a document is called, or in which order a store lists it."""
    late = replace(PASS, date="2999-01-01T00:00:00+00:00")
    nonsense = replace(PASS, date="zzz")
    for older in (late, nonsense, replace(EVIDENCE, date="zzz")):
        for order in permutations([older, FAIL]):
            assert state_of(PROGRAM, CPU, order) == "failed"
    assert (
        state_of(PROGRAM, CPU, [FAIL, replace(PASS, sequence=3, date="1999-01-01")]) == "validated"
    )


def test_evidence_without_a_number_is_older_than_all_with_one() -> None:
    old = replace(EVIDENCE, passed=False, date="2999-01-01T00:00:00+00:00")
    assert state_of(PROGRAM, CPU, [old, PASS]) == "validated"
    assert state_of(PROGRAM, CPU, [replace(EVIDENCE, date=old.date), FAIL]) == "failed"


def test_dates_are_compared_as_times() -> None:
    """What decides only between documents from before there were numbers."""
    failed = replace(EVIDENCE, passed=False, date="2026-01-01T01:00:00+00:00")
    west = replace(EVIDENCE, date="2026-01-01T00:30:00-08:00")
    assert state_of(PROGRAM, CPU, [failed, west]) == "validated"
    for none in ("zzz", "", "9999-99-99", "0001-01-01T00:00:00+23:00"):
        assert state_of(PROGRAM, CPU, [failed, replace(EVIDENCE, date=none)]) == "failed"


def test_of_equally_new_evidence_the_failure_counts() -> None:
    for one, other in (
        (EVIDENCE, replace(EVIDENCE, passed=False)),
        (replace(FAIL, passed=True), FAIL),
    ):
        for order in permutations([one, other]):
            assert state_of(PROGRAM, CPU, order) == "failed"


def test_a_pass_has_to_show_every_output_of_every_golden() -> None:
    cases = [("rows1", "y"), ("rows3", "y")]
    assert state_of(PROGRAM, CPU, [PASS], cases=cases) == "validated"
    found = verdict(PROGRAM, CPU, [PASS], cases=[*cases, ("rows16", "y")])
    assert (found.state, found.reason) == (
        "failed", "its evidence lacks output 'y' of golden 'rows16'",
    )  # fmt: skip
    empty = replace(PASS, cases=())
    wrong = replace(PASS, cases=(CaseResult("rows1", "y", 9.0, 9.0, False),))
    assert state_of(PROGRAM, CPU, [empty]) == state_of(PROGRAM, CPU, [wrong]) == "failed"


def test_missing_evidence_stands_for_a_failure() -> None:
    gone = Missing(CPU, 2, "number 2")
    assert state_of(PROGRAM, CPU, [PASS], missing=[gone]) == "failed"
    assert state_of(PROGRAM, CPU, [], missing=[gone]) == "failed"
    assert "number 2" in verdict(PROGRAM, CPU, [PASS], missing=[gone]).reason
    assert state_of(PROGRAM, CPU, [replace(PASS, sequence=2)], missing=[gone]) == "failed"
    assert state_of(PROGRAM, CPU, [replace(PASS, sequence=3)], missing=[gone]) == "validated"
    elsewhere = Missing(Target.parse("rtx:sm_89"), 9, "number 9")
    assert state_of(PROGRAM, CPU, [PASS], missing=[elsewhere]) == "validated"


def test_a_verdict_says_why_and_on_what_evidence() -> None:
    failed = verdict(PROGRAM, CPU, [PASS, FAIL])
    assert failed.reason == "it did not reproduce its goldens on 2026-01-01T00:00:00"
    assert failed.evidence is FAIL
    passed = verdict(PROGRAM, CPU, [PASS])
    assert (passed.state, passed.reason, passed.evidence) == ("validated", "", PASS)
    empty = verdict(PROGRAM, CPU, [replace(PASS, cases=())])
    assert empty.reason == "its evidence says that it passed, but it has no cases"
    assert empty.evidence is not None
    nothing = verdict(PROGRAM, CPU, [])
    assert (nothing.state, nothing.reason, nothing.evidence) == ("pending", "", None)


def test_of_what_is_missing_the_highest_number_is_told() -> None:
    gone = [Missing(CPU, number, f"number {number}") for number in (2, 7, 3)]
    found = verdict(PROGRAM, CPU, [replace(PASS, sequence=5)], missing=gone)
    assert (found.state, found.evidence) == ("failed", None)
    assert found.reason == "evidence is missing: number 7. Validate it again"


def test_of_the_outputs_that_a_pass_does_not_show_the_first_is_told() -> None:
    cases = [("rows9", "z"), ("rows9", "a"), ("rows1", "y")]
    found = verdict(PROGRAM, CPU, [PASS], cases=cases)
    assert found.reason == "its evidence lacks output 'a' of golden 'rows9'"
    assert found.evidence is PASS


@pytest.mark.parametrize("zone", ["UTC", "EST+5", "CET-1"])
def test_a_date_without_a_zone_is_in_utc(zone: str, local_time: Callable[[str], None]) -> None:
    local_time(zone)
    failed = replace(EVIDENCE, passed=False, date="2026-01-01T01:00:00")
    east = replace(EVIDENCE, date="2026-01-01T02:30:00+02:00")
    west = replace(EVIDENCE, date="2026-01-01T00:30:00-02:00")
    for order in permutations([failed, east]):
        assert state_of(PROGRAM, CPU, order) == "failed"
    for order in permutations([failed, west]):
        assert state_of(PROGRAM, CPU, order) == "validated"


def test_on_a_machine_with_a_gpu_an_exact_engine_is_proved_by_any_of_its_architectures() -> None:
    group = Target.parse("rtx:sm_80+sm_86")
    listed = replace(EVIDENCE, target=group, machine={"arch": "sm_86"})
    assert state_of(PROGRAM, group, [listed], "sm_80") == "validated"
    unknown = replace(listed, machine={"arch": None})
    assert state_of(PROGRAM, group, [unknown], None) == "pending"
    anywhere = replace(EVIDENCE, machine={})
    assert state_of(PROGRAM, CPU, [anywhere], "sm_80") == "validated"
