"""The results of a run, as a table of models x targets and a line of totals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from enginebundle.format.fallback import Fallback
from enginebundle.format.index import DRAWN, GOLDENS
from enginebundle.format.spec import Target, Tolerance
from enginebundle.format.verdict import Verdict
from orchestrator.plan.task import Task
from orchestrator.plan.task_id import TaskId
from orchestrator.report.tolerance import tolerance_text
from orchestrator.worker.outcome import (
    STOPPED,
    Blocked,
    Built,
    Cached,
    Failed,
    Outcome,
    Skipped,
)


@dataclass(frozen=True, slots=True)
class Row:
    """A model on a target.

    `state` is that of the published variant, as the loader decides it here: `validated`, `pending` (built,
    not validated yet) or `failed`. Or nothing is published: `failed`, `blocked` (no machine at
    hand can build it), `stopped` (the run was). `cached` tells that nothing had to be built, `refitted` that
    engines built for another model got this one's weights. `seconds` is the time that its builds took when
    they ran, `bytes` the size of what they made. `worst` is the largest error relative to what the tolerance
    allows: measured by the loader on the target if `measured`, else computed on the CPU from the network.
    `tolerance` is what that allows, as text; `drawn` tells that nobody gave the goldens' inputs; `fallback`
    is what runs in torch although the target has engines, and why: a line for each build.
    """

    model: str
    target: str
    state: str
    built: bool
    cached: bool
    seconds: float
    bytes: int
    worst: float | None = None
    measured: bool = False
    why: str = ""
    refitted: bool = False
    tolerance: str = "-"
    drawn: bool = False
    fallback: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def rows(
    tasks: Sequence[Task],
    outcomes: Mapping[str, Outcome],
    verdicts: Mapping[TaskId, Verdict] | None = None,
) -> tuple[Row, ...]:
    """One row for each model and target, in the plan's order.

    `verdicts` are those about the published variants, by validation, whether this run did it or not.
    """
    groups: dict[tuple[str, Target | None], list[Task]] = {}
    for task in tasks:
        if task.step == "build":
            groups.setdefault((task.model, task.target), []).append(task)
    by_id = {task.task_id: task for task in tasks}
    result = []
    for (model, target), builds in groups.items():
        validation = TaskId(model, "validate", target)
        validate, publish = by_id.get(validation), by_id.get(TaskId(model, "publish"))
        after = [task for task in (publish, validate) if task is not None]
        known = (verdicts or {}).get(validation, Verdict("pending"))
        made, later = [outcomes[b.id] for b in builds], [outcomes[t.id] for t in after]
        row = _row(model, str(target), made, later, known)
        if row.state in ("failed", "blocked"):
            row = replace(row, why=_why([*builds, *after], outcomes) or known.reason)
        drawn = publish is not None and publish.spec.get("labels", {}).get(GOLDENS) == DRAWN
        result.append(replace(row, drawn=drawn))
    return tuple(result)


def _why(tasks: Iterable[Task], outcomes: Mapping[str, Outcome]) -> str:
    """The first task among these that failed or is blocked, or what they were skipped because of."""
    for task in tasks:
        match outcomes[task.id]:
            case Blocked(why):
                return f"{task.id}: blocked: {why}"
            case Failed(code, message):
                return f"{task.id}: {code}: {message}"
            case Skipped(failed) as skipped:
                root = None if failed is None else outcomes.get(failed)
                if isinstance(root, Failed):
                    return f"{failed}: {root.code}: {root.message}"
                return f"{task.id}: {skipped.because}"
    return ""


def _row(
    model: str,
    target: str,
    builds: list[Outcome],
    later: list[Outcome],
    known: Verdict,
) -> Row:
    good = [build for build in builds if isinstance(build, Built | Cached)]
    built = len(good) == len(builds)
    state = _state(builds, later) or known.state
    evaluated = [o.output["evaluated"]["worst"] for o in good if o.output.get("evaluated")]
    worst, measured = (max(evaluated) if evaluated else None), False
    cached = built and all(isinstance(build, Cached) for build in builds)
    refitted = built and not cached and all(o.output.get("refitted", False) for o in good)
    if state == "validated" and known.evidence is not None:
        worst, measured = known.evidence.worst, True
    bounds = [b for o in good[:1] for b in o.output.get("tolerances", {}).values()]
    return Row(
        model,
        target,
        state,
        built,
        cached,
        round(sum(build.seconds for build in good), 1),
        sum(int(build.output.get("bytes", 0)) for build in good),
        worst,
        measured,
        refitted=refitted,
        tolerance=tolerance_text(Tolerance.from_json(bound) for bound in bounds),
        fallback=[told for build in good for told in _fallback(build.output.get("part", {}))],
    )


def _fallback(part: Mapping[str, Any]) -> list[str]:
    if "fallback" not in part:
        return []
    return [f"{', '.join(part['profiles'])}: {Fallback.from_json(part['fallback'])}"]


def _state(builds: Sequence[Outcome], later: Sequence[Outcome]) -> str:
    """Why a row has not the state of a published variant; empty if it has.

    `later` are the publication and, if there is one, the validation: a blocked target had no part in what
    failed there, and one that was published before has the state that it had.
    """
    for outcomes, blocked in ((builds, "blocked"), (later, "")):
        if any(_failed(outcome) for outcome in outcomes):
            return "failed"
        if any(isinstance(outcome, Failed | Skipped) for outcome in outcomes):
            return "stopped"
        if any(isinstance(outcome, Blocked) for outcome in outcomes):
            return blocked
    return ""


def _failed(outcome: Outcome) -> bool:
    """Whether something went wrong, other than that the run was stopped."""
    if isinstance(outcome, Skipped):
        return outcome.failed is not None
    return isinstance(outcome, Failed) and outcome.code != "cancelled"


def totals(table: Iterable[Row]) -> str:
    """`12 built, 3 validated, 9 pending, 0 failed`; `, 2 blocked` and `, 1 stopped` if any are."""
    table = tuple(table)
    counts = {
        "built": sum(row.built for row in table),
        "validated": sum(row.state == "validated" for row in table),
        "pending": sum(row.state == "pending" for row in table),
        "failed": sum(row.state == "failed" for row in table),
    }
    for rare in ("blocked", "stopped"):
        if count := sum(row.state == rare for row in table):
            counts[rare] = count
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def task_totals(outcomes: Mapping[str, Outcome]) -> str:
    """How many tasks were cached; `every task cached` if all were."""
    cached = sum(isinstance(outcome, Cached) for outcome in outcomes.values())
    if cached == len(outcomes):
        return f"{cached} tasks: every task cached"
    return f"{len(outcomes)} tasks: {cached} cached"


def text(table: Sequence[Row]) -> str:
    """The rows in columns, as `kiln run` prints them."""
    lines = [("MODEL", "TARGET", "STATE", "SECONDS", "BYTES", "WORST ERROR", "TOLERANCE")]
    for row in table:
        state = row.state + (" (cached)" if row.cached else " (refit)" if row.refitted else "")
        seconds = f"{row.seconds:.1f}" if row.built else "-"
        size = f"{row.bytes:,}" if row.built else "-"
        lines.append((row.model, row.target, state, seconds, size, _error(row), row.tolerance))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    out = []
    for line in lines:
        left = [f"{cell:<{width}}" for cell, width in zip(line[:3], widths[:3], strict=True)]
        right = [f"{cell:>{width}}" for cell, width in zip(line[3:], widths[3:], strict=True)]
        out.append("  ".join((*left, *right)).rstrip())
    out += dict.fromkeys(row.why for row in table if row.why)
    if any(row.state == "stopped" for row in table):
        out.append(f"{STOPPED}, run the same command to resume")
    out += [f"{row.model} on {row.target}, {told}" for row in table for told in row.fallback]
    if any(row.fallback for row in table):
        out.append("`kiln report` names every node that runs in torch")
    if drawn := ", ".join(dict.fromkeys(row.model for row in table if row.drawn)):
        out.append(f"goldens: drawn at random, since the manifest gives none: {drawn}")
    if any(row.worst is not None for row in table):
        out.append(
            "worst error: 1 is the most that the tolerance allows; "
            "~ computed on the CPU from the network, else measured by the loader on the target; "
            "tolerance: atol, and rtol in percent of the value, from the narrowest output to the widest"
        )
    return "\n".join(out)


def _error(row: Row) -> str:
    if row.worst is None:
        return "-"
    return f"{'' if row.measured else '~'}{row.worst:.2g}"
