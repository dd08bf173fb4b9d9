"""An executor on a virtual clock: ten thousand tasks in seconds, and any mishap, from a seed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from orchestrator.run.events import Ended
from orchestrator.run.taskgraph import Pool
from orchestrator.worker.attempt import Attempt
from orchestrator.worker.outcome import Built, Failed, Outcome


@dataclass(frozen=True, slots=True)
class Mishaps:
    """Probabilities, for each attempt."""

    infra: float = 0.0
    """The node is lost: a Failed("infra")."""
    crash: float = 0.0
    """The step's process dies: a Failed("crashed")."""
    zombie: float = 0.0
    """The attempt's report comes a second time, later."""


@dataclass
class VirtualExecutor:
    """`seconds` says how long an attempt takes; `record` gets what is built, as a store would be."""

    capacity: Mapping[str | None, Pool]
    seconds: Callable[[Attempt], float]
    record: Callable[[Attempt, Mapping[str, object]], None]
    mishaps: Mishaps = Mishaps()
    seed: int = 0
    now: float = 0.0
    started: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._ends: list[tuple[float, int, Ended]] = []
        self._count = 0

    def pools(self, labels: Collection[str | None]) -> Mapping[str | None, Pool]:
        return {label: self.capacity[label] for label in labels}

    def submit(self, attempt: Attempt) -> None:
        self.started.append((attempt.id, attempt.number))
        draw, whole = self._random.random(), self.seconds(attempt)
        outcome: Outcome
        if draw < self.mishaps.infra:
            outcome, whole = Failed("infra", "the node was lost"), whole * self._random.random()
        elif draw < self.mishaps.infra + self.mishaps.crash:
            outcome = Failed("crashed", "died of signal SIGSEGV")
        else:
            outcome = Built({"made": attempt.id}, whole)
        self._end(whole, Ended(attempt.id, attempt.number, outcome, "virtual"))
        if self._random.random() < self.mishaps.zombie:
            self._end(
                2 * whole, Ended(attempt.id, attempt.number, Built({"late": True}, whole), "zombie")
            )
        if isinstance(outcome, Built):
            self.record(attempt, outcome.output)

    def _end(self, after: float, ended: Ended) -> None:
        self._count += 1
        heapq.heappush(self._ends, (self.now + after, self._count, ended))

    def wait(self, timeout: float) -> list[Ended]:
        if not self._ends:
            return []
        self.now, _, ended = heapq.heappop(self._ends)
        return [ended]

    def close(self) -> None:
        self._ends.clear()
