"""A task's identity: everything that can change its output. The task's Key is the identity's digest.

Everything is in it, unless EXCLUDED names it with a reason. What is in it:

    step and format     which function, and how this file encodes its inputs
    spec                the task's static inputs: the model's settings, the digests of the code and
                        data behind it, and the toolchain (see installed.py)
    upstream            the outputs of the tasks it needs, by role: their digests among them

Two models that ask for the same work under different names share a key, and so share the work.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from enginebundle.format.digest import Digest, digest_json
from orchestrator.plan.task import Task, Upstream
from orchestrator.plan.task_id import TaskId

FORMAT = 1
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
    "trace.spec.source.search_path": "paths; digests of what they hold are in spec.content",
    "trace.spec.source.trusted": "a permission; the file's digest is in spec.content",
    "build.spec.search_path": "paths; digests of what they hold are in spec.content",
    "build.spec.plugins.search_path": "paths; digests of what they hold are beside them",
    "validate.spec.plugins.search_path": "paths; digests of what they hold are beside them",
    "build.spec.allow_torch": "a permission: whether a result without engines may stand, not what it is",
    "trace.spec.goldens.file": "a path; the file's digest is in spec.content",
    "build.upstream.trace.graph": "adds source lines and module names to `program`, which is in; "
    "the graph is in too where torch_executed_modules reads those names",
    "build.upstream.trace.replaced": "tells how the program was made; `program` is in",
    "build.upstream.trace.unchecked": "tells what the program leaves out; `program` is in",
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
    "what a model downloads while it is traced": "planning downloads nothing; pin a revision in "
    "kwargs, which are in, or name the files in `files:`",
    "environment variables": "steps read none that change a result; a model that reads some should "
    "take them as kwargs, which are in",
}
"""What must never become part of a task, each with the reason."""

ALWAYS_RUN = frozenset({"promote"})
"""Steps whose results are not kept: others can move an alias, too."""


def cacheable(task: Task) -> bool:
    """Whether a result in the store replaces running the task."""
    return task.step not in ALWAYS_RUN


def identity(task: Task, upstream: Upstream) -> dict[str, Any]:
    """Everything that can change what a task makes, as JSON.

    `upstream` maps the ids of the tasks it needs to their outputs. Those in `task.optional` may be
    absent, which makes another identity; KeyError if any other is.
    """
    made = {}
    for need in task.needs:
        if need in upstream:
            made[TaskId.parse(need).role] = copy.deepcopy(dict(upstream[need]))
        elif need not in task.optional:
            raise KeyError(f"{task.id} needs the output of {need}")
    result: dict[str, Any] = {
        "format": FORMAT,
        "step": task.step,
        "spec": copy.deepcopy(task.spec),
        "upstream": made,
    }
    for path in EXCLUDED:
        step, _, rest = path.partition(".")
        if step == task.step and not (path == _GRAPH and task.spec["torch_executed_modules"]):
            _remove(result, rest.split("."))
    return result


def key(task: Task, upstream: Upstream) -> Digest:
    """The digest of a task's identity: where the store keeps its result."""
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


_GRAPH = "build.upstream.trace.graph"


def _remove(value: dict[str, Any], path: list[str]) -> None:
    for step in path[:-1]:
        value = value.get(step) or {}
    value.pop(path[-1], None)
