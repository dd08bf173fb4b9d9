"""How a task is named: `<model>/<step>[/<target>[/<profile>]]`. Only this file builds or splits an id.

str(TaskId("m", "build", Target.parse("rtx:sm_89"), "short"))    "m/build/rtx:sm_89/short"
TaskId.parse("m/trace")                                          TaskId("m", "trace")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from enginebundle.errors import FormatError
from enginebundle.format.spec import Target

Step = Literal["trace", "build", "publish", "validate", "promote"]


@dataclass(frozen=True, slots=True)
class TaskId:
    """A task's name. Its text is what plans, results, records and logs hold."""

    model: str
    step: Step
    target: Target | None = None
    profile: str | None = None
    """Only with a target: the one profile that a build serves, where it does not serve them all."""

    def __str__(self) -> str:
        return f"{self.model}/{self.role}"

    @property
    def role(self) -> str:
        """The id without the model's name: `build/rtx:sm_89/short`."""
        parts = (self.step, None if self.target is None else str(self.target), self.profile)
        return "/".join(part for part in parts if part is not None)

    @property
    def file_name(self) -> str:
        """The id as part of a file's name, which has no slash: `m~build~rtx:sm_89~short`."""
        return str(self).replace("/", "~")

    @classmethod
    def parse(cls, text: str) -> TaskId:
        """The inverse of `str`. ValueError if `text` is not an id."""
        model, *rest = text.split("/")
        step, target, profile, *more = (*rest, None, None, None)
        if not model or step not in get_args(Step) or any(part is not None for part in more):
            raise ValueError(f"task {text!r}: expected <model>/<step>[/<target>[/<profile>]]")
        try:
            found = None if target is None else Target.parse(target)
        except FormatError as error:
            raise ValueError(f"task {text!r}: {error}") from error
        return cls(model, cast(Step, step), found, profile)
