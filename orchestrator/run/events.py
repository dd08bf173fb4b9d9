"""What a schedule is told, and what it says: values that go between it, the run and the executors."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.worker.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Ended:
    """A task's attempt is over, on `host`. Attempts that are not the current one are ignored."""

    id: str
    attempt: int
    outcome: Outcome
    host: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """A submitted attempt runs now, on `host`. Only pools that report it send this."""

    id: str
    attempt: int
    host: str = ""


@dataclass(frozen=True, slots=True)
class Resized:
    """A task that has not started is now known to need this much memory, in bytes."""

    id: str
    memory: float


@dataclass(frozen=True, slots=True)
class Submit:
    """Run this task, with that many bytes of memory. Attempts count from 1."""

    id: str
    attempt: int
    memory: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Settle:
    """The task has ended, finally, with this outcome. Exactly one for each task."""

    id: str
    outcome: Outcome


Event = Ended | Started | Resized
Command = Submit | Settle
