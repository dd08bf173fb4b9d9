"""The results of a run, as a table of models x targets and a line of totals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from enginebundle.format.spec import Target
from orchestrator.plan.task import Task
from orchestrator.plan.task_id import TaskId
from orchestrator.worker.outcome import Blocked, Built, Cached, Failed, Outcome, Skipped


@dataclass(frozen=True, slots=True)
class Row:
    """A model on a target.

    `state` is `validated`, `pending` (built, not validated yet), `failed`, or `blocked` (no machine at
    hand can build it). `cached` tells that nothing had to be built, `refitted` that engines built for
    another model got this one's weights. `seconds` is the time that its builds took when they ran, `bytes` the
    size of what they made. `worst` is the largest error relative to what the tolerance allows:
    measured by the loader on the target if `measured`, else computed on the CPU from the network.
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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def rows(
    tasks: Sequence[Task],
    outcomes: Mapping[str, Outcome],
    proved: Mapping[TaskId, float] | None = None,
) -> tuple[Row, ...]:
    """One row for each model and target, in the plan's order.

    `proved` maps validations that this run could not do itself to the worst error of the evidence
    that the store holds for them.
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
        known = (proved or {}).get(validation)
        made, later = [outcomes[b.id] for b in builds], [outcomes[t.id] for t in after]
        row = _row(model, str(target), made, later, known)
        if row.state in ("failed", "blocked"):
            row = replace(row, why=_why([*builds, *after], outcomes))
        result.append(row)
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
    proved: float | None,
) -> Row:
    good = [build for build in builds if isinstance(build, Built | Cached)]
    built = len(good) == len(builds)
    state = _state(builds, later, proved is not None)
    evaluated = [o.output["evaluated"]["worst"] for o in good if o.output.get("evaluated")]
    worst, measured = (max(evaluated) if evaluated else None), False
    cached = built and all(isinstance(build, Cached) for build in builds)
    refitted = built and not cached and all(o.output.get("refitted", False) for o in good)
    if state == "validated":
        last = later[-1]
        own = last.output.get("worst") if isinstance(last, Built | Cached) else None
        worst, measured = (own if proved is None else proved), True
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
    )


def _state(builds: Sequence[Outcome], later: Sequence[Outcome], proved: bool) -> str:
    """A row's state. `later` are the publication and, if there is one, the validation: a blocked
    target had no part in what failed there."""
    for outcomes, blocked in ((builds, "blocked"), (later, "pending")):
        if any(isinstance(outcome, Failed | Skipped) for outcome in outcomes):
            return "failed"
        if any(isinstance(outcome, Blocked) for outcome in outcomes):
            return blocked
    return "validated" if proved or len(later) == 2 else "pending"


def totals(table: Iterable[Row]) -> str:
    """`12 built, 3 validated, 9 pending, 0 failed`; `, 2 blocked` if any are."""
    table = tuple(table)
    counts = {
        "built": sum(row.built for row in table),
        "validated": sum(row.state == "validated" for row in table),
        "pending": sum(row.state == "pending" for row in table),
        "failed": sum(row.state == "failed" for row in table),
    }
    if blocked := sum(row.state == "blocked" for row in table):
        counts["blocked"] = blocked
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def task_totals(outcomes: Mapping[str, Outcome]) -> str:
    """How many tasks were cached; `every task cached` if all were."""
    cached = sum(isinstance(outcome, Cached) for outcome in outcomes.values())
    if cached == len(outcomes):
        return f"{cached} tasks: every task cached"
    return f"{len(outcomes)} tasks: {cached} cached"


def text(table: Sequence[Row]) -> str:
    """The rows in columns, as `kiln run` prints them."""
    lines = [("MODEL", "TARGET", "STATE", "SECONDS", "BYTES", "WORST ERROR")]
    for row in table:
        state = row.state + (" (cached)" if row.cached else " (refit)" if row.refitted else "")
        seconds = f"{row.seconds:.1f}" if row.built else "-"
        size = f"{row.bytes:,}" if row.built else "-"
        lines.append((row.model, row.target, state, seconds, size, _error(row)))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    out = []
    for line in lines:
        left = [f"{cell:<{width}}" for cell, width in zip(line[:3], widths[:3], strict=True)]
        right = [f"{cell:>{width}}" for cell, width in zip(line[3:], widths[3:], strict=True)]
        out.append("  ".join((*left, *right)).rstrip())
    out += dict.fromkeys(row.why for row in table if row.why)
    if any(row.worst is not None for row in table):
        out.append(
            "worst error: 1 is the most that the tolerance allows; "
            "~ computed on the CPU from the network, else measured by the loader on the target"
        )
    return "\n".join(out)


def _error(row: Row) -> str:
    if row.worst is None:
        return "-"
    return f"{'' if row.measured else '~'}{row.worst:.2g}"
