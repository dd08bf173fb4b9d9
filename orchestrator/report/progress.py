"""A run's progress on stderr: a live table on a terminal, a line for each transition in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from orchestrator.plan.task import Task
from orchestrator.run.drive import Transition
from orchestrator.worker.outcome import Blocked, Built, Cached, Failed, Skipped

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_STYLES = {
    "built": "green",
    "cached": "cyan",
    "failed": "bold red",
    "skipped": "dim",
    "blocked": "yellow",
}
_COLUMNS = ("waiting", "running", "cached", "built", "failed", "skipped", "blocked")


def line(transition: Transition) -> str:
    """A transition on one line."""
    match transition.outcome:
        case Built(_, seconds, peak):
            detail = f" in {seconds:.1f} s" + (f", peak {peak / 1e6:,.0f} MB" if peak else "")
            return f"{transition.task}: built{detail}{_on(transition)}"
        case Cached():
            return f"{transition.task}: cached"
        case Failed(code, message):
            return f"{transition.task}: FAILED ({code}) {message}{_on(transition)}"
        case Skipped() as skipped:
            return f"{transition.task}: skipped, {skipped.because}"
        case Blocked(why):
            return f"{transition.task}: blocked, {why}"
    again = f" (attempt {transition.attempt})" if transition.attempt > 1 else ""
    return f"{transition.task}: {transition.state}{again}"


def _on(transition: Transition) -> str:
    return f" on {transition.host}" if transition.host else ""


class Lines:
    """Prints a line for each transition."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush()

    def __call__(self, transition: Transition) -> None:
        print(time.strftime("%H:%M:%S"), line(transition), file=self._stream, flush=True)


class LiveTable:
    """A table of models and the states of their tasks, redrawn in place.

    Failures are also printed above it, where they remain.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._ids = {task.id: task.task_id for task in tasks}
        self._states = dict.fromkeys(self._ids, "waiting")
        self._console = Console(stderr=True)
        self._live: Live = Live(self._table(), console=self._console, refresh_per_second=4)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, transition: Transition) -> None:
        running = transition.state in ("started", "retry")
        self._states[transition.task] = "running" if running else transition.state
        if isinstance(transition.outcome, Failed):
            self._console.print(line(transition), style="red", markup=False, highlight=False)
        self._live.update(self._table())

    def _table(self) -> Table:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        table.add_column("model")
        for state in _COLUMNS:
            table.add_column(state, justify="right", style=_STYLES.get(state, ""))
        table.add_column("now")
        for model, counts, now in self._summary():
            table.add_row(model, *(str(counts[state] or "") for state in _COLUMNS), now)
        return table

    def _summary(self) -> list[tuple[str, dict[str, int], str]]:
        """(model, count of each state, running tasks) of each model; of many, the busy ones and a total."""
        counts: dict[str, dict[str, int]] = {}
        now: dict[str, list[str]] = {}
        for task, state in self._states.items():
            task_id = self._ids[task]
            mine = counts.setdefault(task_id.model, dict.fromkeys(_COLUMNS, 0))
            mine[state] += 1
            if state == "running":
                now.setdefault(task_id.model, []).append(task_id.role)
        rows = [(model, mine, ", ".join(now.get(model, ()))) for model, mine in counts.items()]
        if len(rows) <= 30:
            return rows
        busy = [row for row in rows if row[2]][:30]
        total = {state: sum(mine[state] for mine in counts.values()) for state in _COLUMNS}
        return [*busy, (f"all {len(rows)} models", total, "")]


def progress(tasks: Sequence[Task]) -> Lines | LiveTable:
    """The display that suits stderr: a table on a terminal, else lines."""
    return LiveTable(tasks) if sys.stderr.isatty() else Lines()
