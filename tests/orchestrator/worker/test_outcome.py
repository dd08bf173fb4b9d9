import pytest

from orchestrator.worker.outcome import (
    ATTEMPTS,
    Blocked,
    Built,
    Cached,
    Class,
    Failed,
    Skipped,
    classify,
    from_json,
    kind,
    to_json,
)

OUTCOMES = [
    Built({"version": 3}, 1.5, 7),
    Cached({"version": 3}, 1.5),
    Failed("timeout", "still running after 3 s", "last line", "kiln run m.yaml --only x"),
    Skipped("minilm/trace"),
    Blocked("no machine here has sm_90"),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=kind)
def test_json_round_trip(outcome):
    assert from_json(to_json(outcome)) == outcome
    assert to_json(outcome)["kind"] == kind(outcome)


@pytest.mark.parametrize(
    ("skipped", "because"),
    [(Skipped("m/trace"), "m/trace failed"), (Skipped(None), "the run was stopped")],
)
def test_a_skipped_task_says_why(skipped, because):
    assert skipped.because == to_json(skipped)["because"] == because
    assert from_json(to_json(skipped)) == skipped


@pytest.mark.parametrize(
    "value", [{}, {"kind": "lost"}, {"kind": "skipped"}, {"kind": "failed", "color": "red"}]
)
def test_anything_else_is_refused(value):
    with pytest.raises(ValueError, match="not an outcome"):
        from_json(value)


def test_only_failures_that_the_machine_may_have_caused_run_again():
    assert ATTEMPTS[classify("infra")] == 3
    assert ATTEMPTS[classify("crashed")] == ATTEMPTS[classify("timeout")] == 2
    assert classify("no-export") is Class.DETERMINISTIC
    assert ATTEMPTS[Class.DETERMINISTIC] == 1
