"""Manifest -> Plan: every task, after the tasks it needs, and what will happen to it.

Pure: results, installation and file digests are arguments. Needs no GPU, no Ray, no torch and no
model: a build whose graph is not known yet is planned as `unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from enginebundle.format.digest import Digest, digest_json
from enginebundle.format.spec import Target
from orchestrator.manifest.model import Manifest
from orchestrator.plan.changes import told
from orchestrator.plan.installed import Installed
from orchestrator.plan.keys import UNKEYED, cacheable, engines_identity, identity, records
from orchestrator.plan.task import Decision, Task, Upstream
from orchestrator.plan.task_id import TaskId
from orchestrator.plan.tasks import pending_validations, sized, tasks

RTX_BUILDS = frozenset({"sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121"})
"""Architectures that TensorRT-RTX builds for, on any machine."""

Lookup = Callable[[Digest], Mapping[str, Any] | None]
"""Key -> the store's record of a result, or None."""
Find = Callable[[Task, Mapping[str, Any]], Mapping[str, Any] | None]
"""A task that reads inputs and its identity -> the record of a result from what they are now, or None."""
Changes = Callable[[Task, Mapping[str, Any]], Sequence[str] | None]
"""A task without a result and its identity -> what changed since the nearest earlier one, if any."""


@dataclass(frozen=True, slots=True)
class Past:
    """What earlier runs left; nothing, if nothing else is said.

    `current` gives the version that a name's alias `latest` points to, and `holds` that version's targets.
    `known` tells how a task with this identity failed before; empty if it did not. Without `find`, steps that
    run the user's code are looked up as if they read nothing.
    """

    lookup: Lookup = lambda digest: None
    find: Find | None = None
    known: Callable[[Task, Mapping[str, Any]], str] = lambda task, identity: ""
    changes: Changes = lambda task, identity: None
    current: Callable[[str], int | None] = lambda name: None
    holds: Callable[[str], Collection[Target]] = lambda name: ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All work of a manifest. Every task comes after those it needs.

    `decisions` has one entry for each of `tasks`, in the same order. `pending` are validations that
    no machine here can run, each with the reason and the command that completes it. `found` has the store's
    record, without its identity, of each task that is cached, by id.
    """

    manifest: Digest
    models: tuple[str, ...]
    tasks: tuple[Task, ...]
    decisions: tuple[Decision, ...]
    pending: tuple[tuple[TaskId, str], ...] = ()
    found: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    def decision(self, task_id: str) -> Decision:
        """What will happen to a task. KeyError if the plan has no such task."""
        return {t.id: d for t, d in zip(self.tasks, self.decisions, strict=True)}[task_id]

    def behind(self) -> dict[str, int]:
        """How many tasks run because another one does, by that one, the first of its line."""
        found: dict[str, int] = {}
        for decision in self.decisions:
            if decision.root is not None:
                found[decision.root] = found.get(decision.root, 0) + 1
        return found

    def counts(self) -> dict[str, int]:
        """How many tasks have each status that occurs."""
        found: dict[str, int] = {}
        for decision in self.decisions:
            found[decision.status] = found.get(decision.status, 0) + 1
        return found

    def to_json(self) -> dict[str, Any]:
        pairs = zip(self.tasks, self.decisions, strict=True)
        return {
            "manifest": self.manifest,
            "models": list(self.models),
            "tasks": [task.to_json() | decision.to_json() for task, decision in pairs],
            "counts": self.counts(),
            "pending": [{"id": str(task_id), "why": why} for task_id, why in self.pending],
        }


def plan(
    manifest: Manifest,
    past: Past,
    installed: Installed,
    contents: Mapping[str, Mapping[str, Any]],
    *,
    archs: Collection[str] = ("cpu",),
    elastic: bool = False,
) -> Plan:
    """Decide each task.

    `contents` is `content.contents(manifest)`; `archs` are the architectures of the machines at
    hand. If the farm is `elastic`, a machine that is not at hand may come, so builds and validations wait
    for it.
    """
    state = _State(past, frozenset(archs), elastic)
    for model in manifest.models:
        come = [arch for target in model.targets for arch in target.archs] if elastic else []
        for task in tasks(model, contents[model.name], installed, {*archs, *come}):
            state.add(task)
            if model.refit and task.step == "build" and task.spec["target"].startswith("rtx:"):
                state.note(task.id, "refit is for trt targets only")
    return Plan(
        manifest=manifest.digest,
        models=tuple(model.name for model in manifest.models),
        tasks=tuple(state.tasks),
        decisions=tuple(state.decisions.values()),
        pending=tuple(
            item
            for model in manifest.models
            if not elastic
            for item in pending_validations(model, archs)
        ),
        found=state.found,
    )


@dataclass(slots=True)
class _State:
    """The decisions so far, and the results that are known."""

    past: Past
    archs: frozenset[str]
    elastic: bool
    tasks: list[Task] = field(default_factory=list)
    decisions: dict[str, Decision] = field(default_factory=dict)
    found: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    makers: dict[Digest, str] = field(default_factory=dict)

    def add(self, task: Task) -> None:
        upstream = {need: self.found[need]["output"] for need in task.needs if need in self.found}
        task = sized(task, upstream)
        self.tasks.append(task)
        self.decisions[task.id] = self._waits(task) or self._decide(task, upstream)

    def note(self, name: str, text: str) -> None:
        """Add to why a task's decision is what it is."""
        decision = self.decisions[name]
        self.decisions[name] = replace(decision, why=f"{decision.why}; {text}")

    def _waits(self, task: Task) -> Decision | None:
        """The decision on a task if some of its inputs are not known yet, or never will be."""
        by_status: dict[str, list[str]] = {}
        for need in task.needs:
            by_status.setdefault(self.decisions[need].status, []).append(need)
        if failed := by_status.get("failed", []):
            optional = set(task.optional)
            if not optional.issuperset(failed) or optional <= set(failed):
                return Decision("failed", f"{failed[0]} failed before")
        if blocked := by_status.get("blocked", []):
            spared = {*task.optional, *task.blockable}
            if not spared.issuperset(blocked) or (
                task.optional and set(task.optional) <= set(blocked)
            ):
                return Decision("blocked", f"needs {blocked[0]}, which no machine here can make")
            if task.step == "promote" and (why := self._loss(task, blocked)):
                return Decision("blocked", why)
        if unreachable := self._unreachable(task, by_status):
            return unreachable
        if "unknown" in by_status:
            first = self.decisions[by_status["unknown"][0]]
            why = f"not known before {TaskId(task.model, 'trace')}"
            return Decision("unknown", why, root=first.root)
        runs = [
            need for status in ("build", "shared", "refit") for need in by_status.get(status, [])
        ]
        if runs:
            root = self.decisions[runs[0]].root or runs[0]
            if task.step == "build":
                open_ = task.spec["refit"] and not task.spec.get("plugins")
                choice = "build or refit: " if open_ else ""
                why = f"{choice}not known before {runs[0]}"
                return Decision("unknown", why, root=root)
            return Decision("build", f"{runs[0]} will run", root=root)
        return None

    def _loss(self, task: Task, blocked: Collection[str]) -> str:
        """Why the alias stays: it would move away from a target that can't be built now."""
        gone = {TaskId.parse(need).target for need in blocked}
        lost = [str(target) for target in self.past.holds(task.model) if target in gone]
        return kept(task.spec["name"], task.spec["alias"], lost) if lost else ""

    def _unreachable(self, task: Task, by_status: Mapping[str, list[str]]) -> Decision | None:
        """Blocked if no machine can run it, unless its inputs are known: a result may exist already."""
        inputs_known = not by_status.keys() & {"unknown", "build", "shared", "refit"}
        if self._served(task) or inputs_known:
            return None
        return Decision("blocked", _remedy(task))

    def _served(self, task: Task) -> bool:
        """Whether some machine can run the task, now or, if the farm is elastic, later."""
        gpus = task.resources.gpus
        return not gpus or self.elastic or bool(self.archs & set(gpus))

    def _decide(self, task: Task, upstream: Upstream) -> Decision:
        if not cacheable(task):
            return self._promotion(task, upstream)
        whole = identity(task, upstream)
        reads = records(task.step, task.spec) and self.past.find is not None
        digest = digest_json(whole)
        record = (
            self.past.find(task, whole)
            if reads and self.past.find is not None
            else self.past.lookup(digest)
        )
        if record is not None:
            # Without the identity, the largest part of a record, thousands of them are small.
            self.found[task.id] = {n: value for n, value in record.items() if n != "identity"}
            unkeyed = record.get("provenance", {}).get(UNKEYED, ())
            why = "same inputs, same result"
            why += f"; unkeyed: {', '.join(unkeyed)}" if unkeyed else ""
            return Decision("cached", why, record["key"] if reads else digest)
        known = None if reads else digest
        if why := self.past.known(task, whole):
            return Decision("failed", why, known)
        if not self._served(task):
            return Decision("blocked", _remedy(task), known)
        maker = self.makers.setdefault(digest, task.id)
        if maker != task.id:
            why = f"{maker} has the same key, and makes it"
            return Decision("shared", why, known, root=self.decisions[maker].root or maker)
        changes = tuple(self.past.changes(task, whole) or ())
        engines = engines_identity(task.spec, upstream)
        if engines is not None and self.past.lookup(digest_json(engines)) is not None:
            why = "engines for this graph exist; they get these weights"
            return Decision("refit", why, known, changes)
        return Decision("build", told(changes) or "no result for this key", known, changes)

    def _promotion(self, task: Task, upstream: Upstream) -> Decision:
        alias = f"{task.spec['name']}:{task.spec['alias']}"
        failed = [need for need, output in upstream.items() if output.get("passed") is False]
        if failed:
            return Decision("blocked", f"{failed[0]} failed, so {alias} does not move")
        version = upstream[str(TaskId(task.model, "publish"))]["version"]
        if self.past.current(task.spec["name"]) == version:
            return Decision("cached", f"{alias} is already version {version}")
        return Decision("build", f"{alias} moves to version {version}")


def kept(name: str, alias: str, lost: Collection[str]) -> str:
    """Why an alias stays where it is: what it points to has targets that the new version lacks."""
    return (
        f"{name}:{alias} stays where it is: that version has {', '.join(lost)}, which no machine here "
        "can build now; run this again where one can, or move it with --allow-unproved"
    )


def _remedy(task: Task) -> str:
    archs, first = " or ".join(task.resources.gpus), task.resources.gpus[0]
    if task.step == "build":
        instead = f", or ask for rtx:{first}, which builds anywhere" if first in RTX_BUILDS else ""
        return (
            f"TensorRT builds on a GPU of the target, and no machine here has {archs}: add one "
            f"with the node label farm/sm={first}{instead}"
        )
    return f"no machine here has {archs}: add one with the node label farm/sm={first}"
