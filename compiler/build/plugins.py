"""The user's TensorRT plugins, where `trt:` engines are built and validated."""

from __future__ import annotations

from collections.abc import Sequence

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
