"""A task: one step of work, which a plan lists, a schedule orders and an executor runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from enginebundle.format.digest import Digest
from enginebundle.format.spec import Target
from orchestrator.plan.task_id import Step, TaskId

GIB = 1 << 30

Upstream = Mapping[str, Mapping[str, Any]]
"""Outputs of the tasks that a task needs, by id."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a step may use: processors, bytes of memory, seconds of wall-clock time.

    `gpus` are architectures, of which it needs any one. They are spelled as in targets (`sm_90`) and
    are values of the node label `farm/sm`. Empty: any machine will do.
    """

    cpus: float
    memory: int
    timeout: float
    gpus: tuple[str, ...] = ()
    guess: bool = False
    """Whether `memory` is an estimate, which tracing improves (see `tasks.sized`)."""

    @property
    def label(self) -> str | None:
        """Selects nodes by their label `farm/sm`: `sm_90`, or `in(sm_80,sm_86)`; None: any machine."""
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
    """One step. `spec` holds its static inputs (JSON); its other inputs come from tasks it `needs`.

    `needs`, `optional` and `blockable` are ids. A task of `optional`, a subset of `needs`, may fail
    or be blocked without stopping this one, as long as one of them succeeds: a bundle is published
    with the variants that were built. One of `blockable`, another subset, may be blocked but not
    fail: an alias waits for no machine that is not there.
    """

    task_id: TaskId
    spec: dict[str, Any] = field(hash=False)
    needs: tuple[str, ...]
    resources: Resources
    optional: tuple[str, ...] = ()
    blockable: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The text of `task_id`: what results, records and other tasks' `needs` name it by."""
        return str(self.task_id)

    @property
    def step(self) -> Step:
        return self.task_id.step

    @property
    def model(self) -> str:
        return self.task_id.model

    @property
    def target(self) -> Target | None:
        return self.task_id.target

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "step": self.step,
            "model": self.model,
            "target": None if self.target is None else str(self.target),
            "spec": self.spec,
            "needs": list(self.needs),
            "optional": list(self.optional),
            "blockable": list(self.blockable),
            "resources": self.resources.to_json(),
        }


Status = Literal["cached", "build", "shared", "refit", "unknown", "blocked", "failed"]
"""`cached`: the store holds the result. `build`: it will run. `shared`: another task of the plan has the
same key, and will run. `refit`: it will run, and engines that
another model's build left fit it. `unknown`: whether it must run is known only after tracing.
`blocked`: no machine here can run it; `why` tells what would help. `failed`: it failed before with the same
inputs and toolchain, and is not tried again."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What will happen to a task, and why. `key` is None while an input of the task is unknown.

    `changes` tell what is other than in the nearest earlier result, if there is one. `root` is the task
    because of which this one runs: the first in that line, of which the changes are told.
    """

    status: Status
    why: str
    key: Digest | None = None
    changes: tuple[str, ...] = ()
    root: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "why": self.why,
            "key": self.key,
            "changes": list(self.changes),
            "root": self.root,
        }
