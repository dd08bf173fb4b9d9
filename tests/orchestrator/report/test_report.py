import pytest

from enginebundle.format.spec import Target
from orchestrator.plan.task import Resources, Task
from orchestrator.plan.task_id import TaskId
from orchestrator.report import report
from orchestrator.report.exit_codes import exit_code
from orchestrator.worker.outcome import Blocked, Built, Cached, Failed, Skipped

ANY = Resources(1.0, 1, 1.0)
CPU, RTX = Target.parse("torch:cpu"), Target.parse("rtx:sm_89")


def task(step, target=None, profile=None):
    return Task(TaskId("m", step, target, profile), {}, (), ANY)


TASKS = (
    task("trace"),
    task("build", CPU),
    task("build", RTX, "short"),
    task("build", RTX, "long"),
    task("publish"),
    task("validate", CPU),
    task("promote"),
)
BUILD = {"bytes": 1000, "evaluated": {"worst": 0.25, "max_abs": 1e-6}}
GOOD = {
    "m/trace": Built({}, 2.0),
    "m/build/torch:cpu": Cached({"bytes": 1234, "evaluated": None}, 1.5),
    "m/build/rtx:sm_89/short": Built(BUILD, 3.0),
    "m/build/rtx:sm_89/long": Cached(BUILD | {"evaluated": {"worst": 0.5}}, 4.0),
    "m/publish": Built({"version": 1}, 0.1),
    "m/validate/torch:cpu": Built({"passed": True, "worst": 0.125}, 1.0),
    "m/promote": Built({}, 0.0),
}


def test_a_good_run_as_a_table():
    table = report.rows(TASKS, GOOD)
    assert report.text(table).splitlines() == [
        "MODEL  TARGET     STATE               SECONDS  BYTES  WORST ERROR",
        "m      torch:cpu  validated (cached)      1.5  1,234         0.12",
        "m      rtx:sm_89  pending                 7.0  2,000         ~0.5",
        "worst error: 1 is the most that the tolerance allows; ~ computed on the CPU from the network, "
        "else measured by the loader on the target",
    ]
    assert report.totals(table) == "2 built, 1 validated, 1 pending, 0 failed"
    assert report.task_totals(GOOD) == "7 tasks: 2 cached"
    assert exit_code(GOOD.values()) == 0


def test_engines_with_other_weights_are_a_refit():
    refitted = {
        name: Built(BUILD | {"refitted": True}, 3.0)
        for name in ("m/build/rtx:sm_89/short", "m/build/rtx:sm_89/long")
    }
    lines = report.text(report.rows(TASKS, GOOD | refitted)).splitlines()
    assert lines[2].split()[2:4] == ["pending", "(refit)"]
    half = GOOD | refitted | {"m/build/rtx:sm_89/long": Built(BUILD | {"refitted": False}, 9.0)}
    assert "(refit)" not in report.text(report.rows(TASKS, half))


def test_evidence_from_elsewhere_validates_a_variant():
    table = report.rows(TASKS, GOOD, {TaskId("m", "validate", RTX): 0.75})
    assert (table[1].state, table[1].worst, table[1].measured) == ("validated", 0.75, True)
    assert report.totals(table) == "2 built, 2 validated, 0 pending, 0 failed"


def test_one_failed_profile_fails_the_target_and_says_why():
    outcomes = GOOD | {"m/build/rtx:sm_89/short": Failed("builder", "layer 7 has no tactic")}
    table = report.rows(TASKS, outcomes)
    assert [row.state for row in table] == ["validated", "failed"]
    assert "m/build/rtx:sm_89/short: builder: layer 7 has no tactic" in report.text(table)
    assert report.totals(table) == "1 built, 1 validated, 0 pending, 1 failed"


def test_a_blocked_target_is_neither_built_nor_failed_and_says_why():
    outcomes = GOOD | {"m/build/rtx:sm_89/short": Blocked("no machine here has it")}
    table = report.rows(TASKS, outcomes)
    assert [row.state for row in table] == ["validated", "blocked"]
    assert "m/build/rtx:sm_89/short: blocked: no machine here has it" in report.text(table)
    assert report.totals(table) == "1 built, 1 validated, 0 pending, 0 failed, 1 blocked"
    assert exit_code(outcomes.values()) == 5


def test_what_fails_after_the_builds_is_not_laid_on_a_blocked_target():
    outcomes = GOOD | {
        "m/build/rtx:sm_89/short": Blocked("no machine here has it"),
        "m/build/torch:cpu": Failed("builder", "no"),
        "m/publish": Skipped("m/build/torch:cpu"),
        "m/validate/torch:cpu": Skipped("m/build/torch:cpu"),
    }
    assert [row.state for row in report.rows(TASKS, outcomes)] == ["failed", "blocked"]
    assert exit_code(outcomes.values()) == 1


def test_a_failed_trace_fails_every_target():
    outcomes = dict.fromkeys(GOOD, Skipped("m/trace")) | {"m/trace": Failed("guard", "x")}
    table = report.rows(TASKS, outcomes)
    assert report.totals(table) == "0 built, 0 validated, 0 pending, 2 failed"
    assert report.text(table).splitlines()[-1] == "m/trace: guard: x"
    assert report.text(table).count("m/trace") == 1


def test_a_validation_out_of_tolerance_is_built_but_failed():
    outcomes = GOOD | {"m/validate/torch:cpu": Failed("accuracy", "off")}
    assert (
        report.totals(report.rows(TASKS, outcomes)) == "2 built, 0 validated, 1 pending, 1 failed"
    )
    assert exit_code(outcomes.values()) == 4


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], 0),
        (["accuracy"], 4),
        (["accuracy", "builder"], 1),
        (["crashed"], 1),
        (["infra", "accuracy"], 3),
        (["no-machine"], 3),
        (["blocked"], 5),
        (["accuracy", "blocked"], 4),
        (["builder", "blocked"], 1),
        (["infra", "blocked"], 3),
    ],
)
def test_exit_codes(codes, expected):
    bad = [Blocked("") if code == "blocked" else Failed(code, "") for code in codes]
    outcomes = [Built({}, 1.0), Skipped("x"), *bad]
    assert exit_code(outcomes) == expected
    assert exit_code(outcomes, interrupted=True) == 130


def test_a_run_that_had_nothing_to_do_says_so():
    cached = {name: Cached({}) for name in GOOD}
    assert report.task_totals(cached) == "7 tasks: every task cached"
