"""One step of work on digests: what a plan lists, a schedule orders and an executor runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from enginebundle.format.digest import Digest
from enginebundle.format.spec import Target

Step = Literal["trace", "build", "publish", "validate", "promote"]

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Resources:
    """What a step may take: processors, bytes of memory, seconds of wall clock.

    `gpus` are the architectures one of which it needs, spelled as in targets (`sm_90`): values of
    the node label `farm/sm`. Empty: any machine will do.
    """

    cpus: float
    memory: int
    timeout: float
    gpus: tuple[str, ...] = ()
    guess: bool = False
    """Whether `memory` is an estimate, which tracing can better (see `work.sized`)."""

    @property
    def label(self) -> str | None:
        """Selects nodes by label `farm/sm`: `sm_90`, or `in(sm_80,sm_86)`; None for any machine."""
        if len(self.gpus) < 2:
            return self.gpus[0] if self.gpus else None
        return f"in({','.join(self.gpus)})"

    def to_json(self) -> dict[str, Any]:
        return {
            "cpus": self.cpus,
            "memory": self.memory,
            "timeout": self.timeout,
            "gpus": list(self.gpus),
            "guess": self.guess,
        }


@dataclass(frozen=True, slots=True)
class Task:
    """One step. `spec` holds its static inputs (JSON), the rest comes from the tasks it `needs`.

    Ids are `<model>/<step>[/<target>[/<profile>]]`. A task of `optional`, a subset of `needs`, may
    fail without stopping this one, as long as one of them succeeds: a bundle is published with the
    variants that were built.
    """

    id: str
    step: Step
    model: str
    target: Target | None
    spec: dict[str, Any] = field(hash=False)
    needs: tuple[str, ...]
    resources: Resources
    optional: tuple[str, ...] = ()

    @property
    def role(self) -> str:
        """The id without the model's name: `build/rtx:sm_89/short`."""
        return self.id.split("/", 1)[1]

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "step": self.step,
            "model": self.model,
            "target": None if self.target is None else str(self.target),
            "spec": self.spec,
            "needs": list(self.needs),
            "optional": list(self.optional),
            "resources": self.resources.to_json(),
        }


Status = Literal["cached", "build", "unknown", "blocked"]
"""`cached`: the store holds the result. `build`: it will run. `unknown`: whether it must run shows
after tracing. `blocked`: no machine here can run it, `why` says what would help."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to a task, and why. `key` is None while an input of the task is not known."""

    status: Status
    why: str
    key: Digest | None = None

    def to_json(self) -> dict[str, Any]:
        return {"status": self.status, "why": self.why, "key": self.key}
