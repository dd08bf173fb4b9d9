"""The user's TensorRT plugins, where `trt:` engines are built and validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compiler.build.networks import BuildRequest
from compiler.convert.registry import Refusal
from compiler.replace.converters import operator_name
from compiler.replace.replacement import Replacement
from compiler.trace.load import call_user, load_function
from enginebundle.format.graph import Graph
from enginebundle.runtimes.plugins import is_ahead_of_time, registered


def register_plugins(entrypoints: Sequence[str], search_path: tuple[str, ...] = ()) -> None:
    """Call each `package.module:function`, without arguments; it registers its plugins' creators.

    Raises ModelRefused if one does not import or raises.
    """
    for entrypoint in entrypoints:
        call_user(load_function(entrypoint, search_path), {}, entrypoint)


def missing_plugins(replacements: Sequence[Replacement]) -> dict[str, Refusal]:
    """Operators whose plugins are not registered in this process, each with the refusal."""
    wanted = {operator_name(r.pattern): r.by for r in replacements if r.way == "plugin"}
    known = registered(wanted.values())
    return {
        op: Refusal(
            "plugin",
            f"expected the TensorRT plugin {by!r} to be registered where the engine is built, it is not"
            + (" (TensorRT 10.6 has no ahead-of-time plugins)" if is_ahead_of_time(by) else ""),
            "name a function that registers it under `plugins:`, or load its library (LD_PRELOAD)",
        )
        for op, by in wanted.items()
        if by not in known
    }


def refused_nodes(graph: Graph, missing: dict[str, Refusal]) -> dict[str, Refusal]:
    """The nodes of those operators, by name."""
    return {node.name: missing[node.op] for node in graph.nodes if node.op in missing}


def lacking(request: BuildRequest) -> dict[str, Refusal]:
    """The operators that are to have a plugin and can't have one in this build, with the reason."""
    if request.target.backend == "trt" or request.operators:
        register_plugins(request.plugins, request.search_path)
    if request.target.backend == "trt":
        return missing_plugins(request.replace)
    reason = Refusal("plugin", f"{request.target} has no plugins", "list a trt: target")
    return {operator_name(r.pattern): reason for r in request.replace if r.way == "plugin"}


def without(replacements: tuple[Replacement, ...]) -> tuple[Replacement, ...]:
    """Those that are no plugins."""
    return tuple(r for r in replacements if r.way != "plugin")


def told(missing: Mapping[str, Refusal], written_out: bool) -> dict[str, Any]:
    """For the report: which operators want a plugin and lack it, and what computes them instead."""
    if not missing:
        return {}
    instead = "PyTorch's own operators, converted as any others" if written_out else "torch"
    why = {op: f"{r.detail}; computed by {instead}; {r.remedy}" for op, r in missing.items()}
    return {"plugins_missing": why}
