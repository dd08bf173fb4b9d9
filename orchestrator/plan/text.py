"""A plan as text for people: a line for each task, then pending validations, then the counts."""

from __future__ import annotations

from orchestrator.plan.decide import Plan

WORDS = {
    "cached": "cached",
    "build": "build",
    "shared": "shared",
    "refit": "refit",
    "unknown": "unknown until traced",
    "blocked": "blocked",
    "failed": "failed before",
}


def table(plan: Plan) -> str:
    """The plan's tasks in columns: task, status, why.

    Where it is known what changed, only the first task that it reaches has a row, with the number of
    tasks behind it.
    """
    rows = [("TASK", "STATUS", "WHY")]
    behind = plan.behind()
    changed = {t.id for t, d in zip(plan.tasks, plan.decisions, strict=True) if d.changes}
    for task, decision in zip(plan.tasks, plan.decisions, strict=True):
        if decision.root in changed:
            continue
        count = behind.get(task.id, 0) if task.id in changed else 0
        more = f"; {count} task{'' if count == 1 else 's'} behind it" if count else ""
        rows.append((task.id, WORDS[decision.status], decision.why + more))
    rows += [(str(task_id), "pending", why) for task_id, why in plan.pending]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]
    return "\n".join([*lines, "", summary(plan)])


def summary(plan: Plan) -> str:
    """`14 tasks of 3 models: 3 cached, 2 build, ...; 9 validations pending`."""
    counts = plan.counts()
    parts = [f"{counts[status]} {word}" for status, word in WORDS.items() if status in counts]
    models = f"{len(plan.models)} model{'' if len(plan.models) == 1 else 's'}"
    text = f"{len(plan.tasks)} tasks of {models}: {', '.join(parts)}"
    waiting = len(plan.pending)
    return text + (
        f"; {waiting} validation{'' if waiting == 1 else 's'} pending" if waiting else ""
    )
