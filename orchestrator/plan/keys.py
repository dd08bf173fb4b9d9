"""A task's identity: everything that can change its output. The task's Key is the identity's digest.

Everything is in it, unless EXCLUDED names it with a reason. What is in it:

    step and format     which function, and how this file encodes its inputs
    spec                the task's static inputs: the model's settings, the digests of the files that
                        the manifest names, and the toolchain (see installed.py)
    upstream            the outputs of the tasks it needs, by role: their digests among them
    inputs              of a task that runs the user's code: what it read, known once it has run (see
                        inputs/lists.py)

Two models that ask for the same work under different names share a key, and so share the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enginebundle.format.digest import Digest, digest_json
from orchestrator.plan.task import Task, Upstream
from orchestrator.plan.task_id import TaskId

FORMAT = 2
"""The version of the meaning of identities: changing it rebuilds every result."""

EXCLUDED: Mapping[str, str] = {
    "task_id.model": "two models may share work; publish has the name in its spec, where it matters",
    "task_id.target": "the target is in spec",
    "task_id.profile": "the profiles are in spec",
    "needs": "names tasks; what they made is in upstream",
    "optional": "decides which failures stop a task, not what it makes",
    "blockable": "decides whether a missing machine stops a task, not what it makes",
    "resources.cpus": "how fast, not what",
    "resources.memory": "how much it may use, not what it makes",
    "resources.timeout": "how long it may take, not what it makes",
    "resources.guess": "only tells whether the memory is an estimate",
    "resources.gpus": "where it may run; the target is in spec",
    "trace.spec.source.program": "a path; the file's digest is in spec.content",
    "trace.spec.source.search_path": "paths; digests of what is read under them are in inputs",
    "trace.spec.source.trusted": "a permission; the file's digest is in spec.content",
    "build.spec.search_path": "paths; digests of what is read under them are in inputs",
    "build.spec.plugins.search_path": "paths; digests of what is read under them are in inputs",
    "validate.spec.plugins.search_path": "paths; digests of what is read under them are in inputs",
    "build.spec.allow_torch": "a permission: whether a result without engines may stand, not what it is",
    "trace.spec.goldens.file": "a path; the file's digest is in spec.content",
    "publish.spec.attachment_paths": "paths; the files' digests are in spec.attachments",
    "build.upstream.trace.graph": "adds source lines and module names to `program`, which is in; "
    "the graph is in too where torch_executed_modules reads those names",
    "build.upstream.trace.replaced": "tells how the program was made; `program` is in",
    "build.upstream.trace.unchecked": "tells what the program leaves out; `program` is in",
    "build.upstream.trace.structure": "how a call's outputs stand together; `program` has the outputs",
    "build.upstream.trace.between": "tells the loader where the program holds; `program` is in",
    "build.upstream.trace.weights_bytes": "a size for estimates; the weights' digest is in",
}
"""Everything about a task that its key leaves out, by path, each with the reason."""

NEVER_IN: Mapping[str, str] = {
    "order of models": "no task knows the other models",
    "host name, user, date": "provenance: stored beside the result, never in its key",
    "processor of the tracing machine": "a graph and its weights do not depend on it; goldens may "
    "differ in their last bits, far within every tolerance, and the first result wins",
    "driver and GPU of the building machine": "TensorRT-RTX builds without a GPU; TensorRT times "
    "tactics on the target's architecture, which is in; the first result wins",
    "timing cache": "says how fast TensorRT found tactics before; which one a build had is kept beside "
    "its engine, and the first result wins",
    "memory that the building GPU has free": "limits TensorRT's scratch memory; the limit is kept beside "
    "the engine",
    "sockets and subprocesses": "what comes through them can't be recorded: refused, unless the model says "
    "`unrecorded: allow`, when plans name them",
    "variables that native code reads": "getenv in C raises no event; libraries read there how fast or how "
    "loud to be",
    "the list of all distributions": "when a library asks for it: what it then imports is in",
    "time and random numbers": "a model that draws its weights without a seed gets the first result",
}
"""What must never become part of a task, each with the reason."""

UNKEYED = "unkeyed"
"""Where a result's provenance names what its step used and no key knows of."""
ALWAYS_RUN = frozenset({"promote"})
"""Steps whose results are not kept: others can move an alias, too."""


def records(step: str, spec: Mapping[str, Any]) -> bool:
    """Whether the step runs the user's code: its key then depends on what that reads."""
    if step == "build":
        return bool(spec.get("replace") or spec.get("plugins"))
    return step == "trace" or (step == "validate" and bool(spec.get("plugins")))


def cacheable(task: Task) -> bool:
    """Whether a result in the store replaces running the task."""
    return task.step not in ALWAYS_RUN


def identity(task: Task, upstream: Upstream) -> dict[str, Any]:
    """Everything that can change what a task makes, as JSON; without the inputs of one that `records`.

    `upstream` maps the ids of the tasks it needs to their outputs. Those in `task.optional` may be
    absent, which makes another identity; KeyError if any other is.
    """
    made = {}
    for need in task.needs:
        if need in upstream:
            made[TaskId.parse(need).role] = _copied(upstream[need])
        elif need not in task.optional:
            raise KeyError(f"{task.id} needs the output of {need}")
    result: dict[str, Any] = {
        "format": FORMAT,
        "step": task.step,
        "spec": _copied(task.spec),
        "upstream": made,
    }
    for path in EXCLUDED:
        step, _, rest = path.partition(".")
        if step == task.step and not (path == _GRAPH and task.spec["torch_executed_modules"]):
            _remove(result, rest.split("."))
    return result


def key(task: Task, upstream: Upstream) -> Digest:
    """The digest of a task's identity: where the store keeps its result, or the lists of its inputs."""
    return digest_json(identity(task, upstream))


def engines_identity(spec: Mapping[str, Any], upstream: Upstream) -> dict[str, Any] | None:
    """Under whose digest a build of refittable engines notes that it made them; None for other steps, and where an
    engine may hold plugins: these are built anew for each model.

    Models that differ in nothing but replaceable weights share it. It is a forecast for plans: the
    build compares the networks themselves.
    """
    traced = [made for need, made in upstream.items() if TaskId.parse(need).step == "trace"]
    if not spec.get("refit") or spec.get("plugins") or not traced:
        return None
    own = {name: value for name, value in spec.items() if name not in ("tolerances", "search_path")}
    skeleton = traced[0].get("skeleton")
    return {"format": FORMAT, "step": "engines", "spec": own, "skeleton": skeleton}


def _copied(value: Any) -> Any:
    """A JSON value that shares no structure with this one. `copy.deepcopy` takes ten times as long."""
    if isinstance(value, dict):
        return {name: one if type(one) in _ATOMS else _copied(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [one if type(one) in _ATOMS else _copied(one) for one in value]
    return _copied(dict(value)) if isinstance(value, Mapping) else value


_ATOMS = frozenset({str, int, float, bool, type(None)})
_GRAPH = "build.upstream.trace.graph"


def _remove(value: dict[str, Any], path: list[str]) -> None:
    for step in path[:-1]:
        value = value.get(step) or {}
    value.pop(path[-1], None)
