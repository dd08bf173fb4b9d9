"""Manifest -> Plan: every task, in an order that respects their needs, and what becomes of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from enginebundle.digest import Digest
from orchestrator.task import Decision, Resources, Task

__all__ = ["Decision", "Plan", "Resources", "Task"]


@dataclass(frozen=True, slots=True)
class Plan:
    """All work of a manifest. Every task stands after those it needs.

    `pending` are the tasks that nobody here can do (validation on a machine that is not in the
    pool): what they would prove stays unproved, and the command that completes it.
    """

    manifest: Digest
    models: tuple[str, ...]
    tasks: tuple[Task, ...]
    decisions: tuple[Decision, ...]
    """One for each of `tasks`, in their order."""
    pending: tuple[tuple[str, str], ...] = ()
    """(`<model>/validate/<target>`, why and the remedy)."""

    def decision(self, task_id: str) -> Decision:
        """What becomes of a task. KeyError if the plan has no such task."""
        return self._by_id()[task_id]

    def _by_id(self) -> dict[str, Decision]:
        return {
            task.id: decision for task, decision in zip(self.tasks, self.decisions, strict=True)
        }

    def to_json(self) -> dict[str, Any]:
        tasks = zip(self.tasks, self.decisions, strict=True)
        return {
            "manifest": self.manifest,
            "models": list(self.models),
            "tasks": [task.to_json() | decision.to_json() for task, decision in tasks],
            "pending": [{"id": id_, "why": why} for id_, why in self.pending],
        }
