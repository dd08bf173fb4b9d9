"""Exit codes of `kiln`: the numbers, what they mean, and which of them follows from outcomes."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.worker.outcome import Blocked, Class, Failed, Outcome, classify

OK, SOME_FAILED, USAGE, INFRASTRUCTURE, ACCURACY, BLOCKED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

MEANINGS = (
    "Exit codes: 0 everything is published or was already current, 1 some target failed, "
    "2 wrong usage or manifest, 3 infrastructure failed, 4 only the accuracy check failed, "
    "5 nothing failed but no machine here can build some target, 130 interrupted."
)
"""What `kiln --help` says about them."""

_INFRASTRUCTURE = ("no-machine",)


def exit_code(outcomes: Iterable[Outcome], interrupted: bool = False) -> int:
    """130 if interrupted; 3 if a machine, node or store failed; 4 if only accuracy failed;
    1 if any other task failed; 5 if none failed and some is blocked; else 0."""
    if interrupted:
        return INTERRUPTED
    outcomes = tuple(outcomes)
    codes = {outcome.code for outcome in outcomes if isinstance(outcome, Failed)}
    if any(classify(c) is Class.INFRASTRUCTURE or c in _INFRASTRUCTURE for c in codes):
        return INFRASTRUCTURE
    if codes == {"accuracy"}:
        return ACCURACY
    if codes:
        return SOME_FAILED
    return BLOCKED if any(isinstance(outcome, Blocked) for outcome in outcomes) else OK
