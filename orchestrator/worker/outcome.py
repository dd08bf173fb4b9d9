"""How a task ended, as a value: what crosses processes and machines instead of an exception.

An exception class does not survive every pickling and its type may not exist on the other side;
a frozen value with a JSON form always does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

JSON = Any
"""A value made of None, bool, int, float, str, list and dict with string keys."""

STOPPED = "the run was stopped"
"""Why tasks that had not ended have no result after Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Built:
    """The task ran and `output` is what the store now holds for its key.

    `seconds` is wall time in the step's process, `peak` the largest memory seen, in bytes.
    """

    output: Mapping[str, JSON]
    seconds: float
    peak: int = 0


@dataclass(frozen=True, slots=True)
class Cached:
    """The store already held the result; `seconds` is what it took when it was built."""

    output: Mapping[str, JSON]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """The task ended without a result.

    `code` is one word for programs (see `Class`), `message` one or a few lines for people,
    `log` the tail of what the step printed, `reproduce` a command that runs this task alone.
    """

    code: str
    message: str
    log: str = ""
    reproduce: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """The task never ran: the task named `failed` did, or (None) the run was stopped before it.

    `failed` is the root of it, however many skipped tasks lie between.
    """

    failed: str | None

    @property
    def because(self) -> str:
        """The reason, for people."""
        return STOPPED if self.failed is None else f"{self.failed} failed"


Outcome = Built | Cached | Failed | Skipped

_KINDS: dict[str, type[Built] | type[Cached] | type[Failed] | type[Skipped]] = {
    "built": Built,
    "cached": Cached,
    "failed": Failed,
    "skipped": Skipped,
}


def kind(outcome: Outcome) -> str:
    """`built`, `cached`, `failed` or `skipped`."""
    return type(outcome).__name__.lower()


def to_json(outcome: Outcome) -> dict[str, JSON]:
    """The outcome's fields and its `kind`; of a skipped task also `because`, for people."""
    told = {"because": outcome.because} if isinstance(outcome, Skipped) else {}
    return {"kind": kind(outcome)} | asdict(outcome) | told


def from_json(value: Mapping[str, JSON]) -> Outcome:
    """Inverse of `to_json`. Raises ValueError on an unknown kind or wrong fields."""
    fields = dict(value)
    try:
        made = _KINDS[fields.pop("kind")]
        if made is Skipped:
            fields.pop("because", None)
        return made(**fields)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an outcome: {error!r} in {sorted(value)}") from error


class Class(Enum):
    """What a failure says about trying again."""

    DETERMINISTIC = "deterministic"
    """The same task will fail the same way: never retried."""
    SUSPECT = "suspect"
    """The process died or hung; the machine may be to blame: tried once more."""
    INFRASTRUCTURE = "infrastructure"
    """A node, the network or the store failed, not the task: tried a few times."""


_CLASSES = {
    "crashed": Class.SUSPECT,
    "timeout": Class.SUSPECT,
    "infra": Class.INFRASTRUCTURE,
}
ATTEMPTS = {Class.DETERMINISTIC: 1, Class.SUSPECT: 2, Class.INFRASTRUCTURE: 3}
"""How often a task may run, by the class of its latest failure."""


def classify(code: str) -> Class:
    """The class of a failure code; a code without an entry is the task's own doing."""
    return _CLASSES.get(code, Class.DETERMINISTIC)
