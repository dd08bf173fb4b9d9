"""Tasks of one run that ask for the same work, under different names: one does it, the others wait."""

from __future__ import annotations

from enginebundle.format.digest import Digest
from orchestrator.run.events import Ended
from orchestrator.worker.outcome import Built, Cached


class Twins:
    """Which keys are being made, and by which task."""

    def __init__(self) -> None:
        self._keys: dict[str, Digest] = {}
        self._waiting: dict[Digest, list[tuple[str, int]]] = {}

    def waits(self, key: Digest, task: str, attempt: int) -> bool:
        """Whether another task makes that key; if not, this one does from now on."""
        if key in self._waiting:
            self._waiting[key].append((task, attempt))
            return True
        self._waiting[key], self._keys[task] = [], key
        return False

    def works(self, task: str) -> bool:
        """Whether the task makes a key itself."""
        return task in self._keys

    def after(self, event: Ended) -> list[Ended]:
        """What the end of an attempt means for the tasks that wait for the same result."""
        outcome = event.outcome
        if isinstance(outcome, Built):
            outcome = Cached(outcome.output, outcome.seconds, outcome.key)
        waiting = self._waiting.pop(self._keys.pop(event.id))
        return [Ended(name, number, outcome, event.host) for name, number in waiting]
