"""The tasks of a model: trace, builds, publish, validations, promote. Pure.

The specs, by step (all JSON; `content` and `toolchain` exist for keys only):

    trace     source, inputs, profiles, goldens, precision, replace, unrecorded, content, toolchain
    build     target, profiles, precision, torch_executed_modules, torch_executed_ops,
              require_full_compilation, min_nodes, tolerances {output or "*": {atol, rtol}}, toolchain,
              version_compatible, refit,
              replace (operators and functions that have converters or plugins; then also search_path,
              content), effort (trt targets only), plugins, operators (as below)
    publish   name, labels {"version": ..., "replaced ...": ...}, profiles, targets, toolchain,
              attachments {name: digest} and attachment_paths (only if it has any)
    validate  name, target, toolchain, plugins {entrypoints, search_path, content} (only if a trt target
              has any)
    promote   name, alias
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from compiler.goldens.source import DRAWING
from enginebundle.format.index import DRAWN, GOLDENS
from enginebundle.format.reference import LATEST
from enginebundle.format.spec import Profile, Target
from orchestrator.manifest.model import Model
from orchestrator.plan.installed import Installed
from orchestrator.plan.task import GIB, Resources, Task, Upstream
from orchestrator.plan.task_id import TaskId

DEFAULT_MEMORY = 4 * GIB
GPU_MEMORY = 8 * GIB
"""More for a step on a GPU: CUDA's context and libraries, TensorRT's kernels and scratch space."""
BOOKKEEPING = Resources(cpus=0.1, memory=GIB // 2, timeout=600.0)
"""For steps that only write small documents."""


def tasks(
    model: Model, content: Mapping[str, Any], installed: Installed, archs: Collection[str]
) -> tuple[Task, ...]:
    """All tasks of a model, each after those it needs.

    `content` is the model's entry in `content.contents`; `archs` are the architectures of the
    machines at hand. A validation that none of them can run gets no task (see `pending_validations`).
    """
    trace = _trace(model, content, installed)
    builds = [
        _build(model, t, group, content, installed)
        for t in model.targets
        for group in _groups(model, t)
    ]
    publish = _publish(model, (trace.id,), tuple(task.id for task in builds), content, installed)
    validations = []
    for target in model.targets:
        if runnable(target, archs):
            own = tuple(task.id for task in builds if task.target == target)
            needs = (*own, publish.id)
            validations.append(_validate(model, target, needs, content, installed))
    proved = tuple(task.id for task in (*builds, *validations))
    promote = Task(
        TaskId(model.name, "promote"),
        spec={"name": model.name, "alias": LATEST},
        needs=(publish.id, *proved),
        resources=BOOKKEEPING,
        blockable=proved,
    )
    return (trace, *builds, publish, *validations, promote)


def runnable(target: Target, archs: Collection[str]) -> bool:
    """Whether some machine at hand can run what is built for the target. A CPU is always at hand."""
    return target.backend == "torch" or any(arch in archs for arch in target.archs)


def pending_validations(model: Model, archs: Collection[str]) -> tuple[tuple[TaskId, str], ...]:
    """Each validation that no machine at hand can run, with the reason and the remedy."""
    return tuple(
        (
            TaskId(model.name, "validate", target),
            f"no machine here has {' or '.join(target.archs)}: the variant stays pending until "
            f"`kiln validate {model.name} --target {target}` runs on one",
        )
        for target in model.targets
        if not runnable(target, archs)
    )


def _groups(model: Model, target: Target) -> tuple[tuple[Profile, ...], ...]:
    """The profiles, grouped by the artifact that serves them. A torch graph serves all of them."""
    if target.backend == "torch" or model.engine_profiles == "shared":
        return (model.profiles,)
    return tuple((profile,) for profile in model.profiles)


def _trace(model: Model, content: Mapping[str, Any], installed: Installed) -> Task:
    return Task(
        TaskId(model.name, "trace"),
        spec={
            "source": model.source.to_json(),
            "inputs": [spec.to_json() for spec in model.inputs],
            "profiles": [profile.to_json() for profile in model.profiles],
            "goldens": model.goldens.to_json(),
            **({"drawing": DRAWING} if model.goldens.drawn else {}),
            "precision": model.precision,
            "replace": [one.to_json() for one in model.replace],
            "unrecorded": model.unrecorded,
            "content": {name: one for name, one in content.items() if name != "attachments"},
            "toolchain": installed.for_trace(),
        },
        needs=(),
        resources=_compute(model),
    )


def _build(
    model: Model, target: Target, profiles: tuple[Profile, ...], content: Mapping[str, Any],
    installed: Installed,
) -> Task:  # fmt: skip
    shared = target.backend == "torch" or model.engine_profiles == "shared"
    return Task(
        TaskId(model.name, "build", target, None if shared else profiles[0].name),
        spec={
            "target": str(target),
            "profiles": [profile.to_json() for profile in profiles],
            "precision": model.precision,
            "torch_executed_modules": list(model.torch_executed_modules),
            "torch_executed_ops": list(model.torch_executed_ops),
            "require_full_compilation": model.require_full_compilation,
            "min_nodes": model.min_nodes,
            "tolerances": {name: one.to_json() for name, one in model.tolerances},
            "toolchain": installed.for_build(target.backend),
            "version_compatible": model.version_compatible and target.backend == "trt",
            "refit": model.refit and target.backend == "trt",
            **_converters(model, content),
            **({"effort": model.effort} if target.backend == "trt" else {}),
            **({"allow_torch": True} if model.allow_torch and target.backend != "torch" else {}),
            **_plugins(model, target, content),
        },
        needs=(str(TaskId(model.name, "trace")),),
        resources=_compute(model, target.archs if target.backend == "trt" else ()),
    )


def _converters(model: Model, content: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a build's spec about the user's own converters. Without any, it names no code."""
    own = [one.to_json() for one in model.replace if one.way != "with"]
    if not own:
        return {"replace": []}
    return {
        "replace": own,
        "search_path": list(model.source.search_path),
        "content": _named(content),
    }


def _named(content: Mapping[str, Any]) -> dict[str, Any]:
    """What counts for any code of the user's, whatever it reads."""
    return {name: content[name] for name in ("PYTHONPATH", "files") if name in content}


def _plugins(model: Model, target: Target, content: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a spec about the code that registers TensorRT plugins and the user's operators, and about
    these; empty if there is none."""
    operators = {"operators": list(model.operators)} if model.operators else {}
    if not model.plugins or not (operators or target.backend == "trt"):
        return operators
    return operators | {
        "plugins": {
            "entrypoints": list(model.plugins),
            "search_path": list(model.source.search_path),
            "content": _named(content),
        }
    }


def _labels(model: Model) -> dict[str, str]:
    """Labels for people in the bundle's index: a version, goldens that nobody gave, each replaced piece."""
    labels = {} if model.version is None else {"version": model.version}
    labels |= {GOLDENS: DRAWN} if model.goldens.drawn else {}
    return labels | {f"replaced {one}": f"{one.way} {one.by}" for one in model.replace}


def _attachments(content: Mapping[str, Any]) -> dict[str, Any]:
    found: Mapping[str, Mapping[str, str]] = content.get("attachments", {})
    if not found:
        return {}
    return {
        "attachments": {name: one["digest"] for name, one in found.items()},
        "attachment_paths": {name: one["path"] for name, one in found.items()},
    }


def _publish(
    model: Model, traces: tuple[str, ...], builds: tuple[str, ...], content: Mapping[str, Any],
    installed: Installed,
) -> Task:  # fmt: skip
    return Task(
        TaskId(model.name, "publish"),
        spec={
            "name": model.name,
            "labels": _labels(model),
            "profiles": [profile.to_json() for profile in model.profiles],
            "targets": [str(target) for target in model.targets],
            "toolchain": installed.for_publish(),
            **_attachments(content),
        },
        needs=(*traces, *builds),
        resources=BOOKKEEPING,
        optional=builds,
    )


def _validate(
    model: Model, target: Target, needs: tuple[str, ...], content: Mapping[str, Any],
    installed: Installed,
) -> Task:  # fmt: skip
    return Task(
        TaskId(model.name, "validate", target),
        spec={
            "name": model.name,
            "target": str(target),
            "toolchain": installed.for_validate(target.backend),
            **_plugins(model, target, content),
        },
        needs=needs,
        resources=_compute(model, () if target.backend == "torch" else target.archs),
    )


def _compute(model: Model, gpus: tuple[str, ...] = ()) -> Resources:
    guess = model.memory is None
    memory = model.memory or DEFAULT_MEMORY + (GPU_MEMORY if gpus else 0)
    return Resources(1.0, memory, model.timeout, gpus, guess)


def sized(task: Task, upstream: Upstream) -> Task:
    """The task with memory for the traced weights, about 5 times their size, unless it was given."""
    traced = upstream.get(str(TaskId(task.model, "trace")), {})
    if not task.resources.guess or "weights_bytes" not in traced:
        return task
    memory = 5 * int(traced["weights_bytes"]) + GIB + (GPU_MEMORY if task.resources.gpus else 0)
    return replace(task, resources=replace(task.resources, memory=memory))
