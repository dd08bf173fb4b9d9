"""How a task ended, as a value that crosses processes and machines where an exception could not.

Not every exception survives pickling, and its type may not exist on the other side. A frozen value
with a JSON form always survives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

JSON = Any
"""A value made of None, bool, int, float, str, list and dict with string keys."""

BESIDE = "provenance"
"""What a step's output has under this name is kept beside the result, not in it: no key depends on it."""
APART = "apart"
"""In a build's spec: build engines in another process, because they killed the step's own before."""
STOPPED = "the run was stopped"
"""Why tasks that had not ended have no result after Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Built:
    """The task ran, and `output` is what the store now holds for its key.

    `seconds` is the wall-clock time of the step's process, `peak` the most memory seen, in bytes.
    """

    output: Mapping[str, JSON]
    seconds: float
    peak: int = 0


@dataclass(frozen=True, slots=True)
class Cached:
    """The store already held the result, which took `seconds` to build."""

    output: Mapping[str, JSON]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """The task ended without a result.

    `code` is one word for programs (see `Class`), `message` is a line or a few for people, `log` is
    the end of what the step printed, and `reproduce` is a command that runs this task alone.
    """

    code: str
    message: str
    log: str = ""
    reproduce: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """The task never ran, because the task named `failed` failed or (None) the run was stopped.

    `failed` is the task at the root, even if others between it and this one were skipped as well.
    """

    failed: str | None

    @property
    def because(self) -> str:
        """The reason, for people."""
        return STOPPED if self.failed is None else f"{self.failed} failed"


@dataclass(frozen=True, slots=True)
class Blocked:
    """The task never ran, because no machine at hand can run it. Nothing is wrong with it.

    `why` says what is missing and what would help, on a line for people.
    """

    why: str


Outcome = Built | Cached | Failed | Skipped | Blocked

_KINDS: dict[str, type[Built] | type[Cached] | type[Failed] | type[Skipped] | type[Blocked]] = {
    "built": Built,
    "cached": Cached,
    "failed": Failed,
    "skipped": Skipped,
    "blocked": Blocked,
}


def kind(outcome: Outcome) -> str:
    """`built`, `cached`, `failed`, `skipped` or `blocked`."""
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
    """What a failure means for another attempt."""

    DETERMINISTIC = "deterministic"
    """The same task will fail the same way: never retried."""
    SUSPECT = "suspect"
    """The process died or hung, and the machine may be to blame: tried once more."""
    INFRASTRUCTURE = "infrastructure"
    """A node, the network or the store failed, not the task: tried a few more times."""


_CLASSES = {
    "crashed": Class.SUSPECT,
    "timeout": Class.SUSPECT,
    "infra": Class.INFRASTRUCTURE,
}
ATTEMPTS = {Class.DETERMINISTIC: 1, Class.SUSPECT: 2, Class.INFRASTRUCTURE: 3}
"""How many attempts a task gets, by the class of its latest failure."""


def classify(code: str) -> Class:
    """The class of a failure code. A code without an entry is the task's own fault."""
    return _CLASSES.get(code, Class.DETERMINISTIC)
