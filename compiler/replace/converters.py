"""The user's own converters and plugins, in a registry made for one compile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.convert.library import REGISTRY
from compiler.convert.plugin import plugin_converter
from compiler.convert.registry import Registry, Table
from compiler.convert.schema import parameters
from compiler.replace.functions import as_operator, function_operator
from compiler.replace.replacement import Replaced, Replacement, ReplaceRefused, nothing
from compiler.trace.load import load_function
from enginebundle.format.spec import Target


def registry_with(
    replacements: Sequence[Replacement], target: Target | None, search_path: tuple[str, ...] = ()
) -> Registry:
    """The built-in converters behind the user's own, which exist in this registry only.

    `target` is None where the caller only asks which operators to keep whole, for any target. Raises
    ReplaceRefused.
    """
    registry = REGISTRY
    for replacement in replacements:
        if replacement.way == "with":
            continue
        if replacement.way == "plugin":
            _check_plugin(replacement, target)
        registry = registry.overlaid(_table(replacement, search_path))
    return registry


def _table(replacement: Replacement, search_path: tuple[str, ...]) -> Table:
    """One row: the operator, and what writes it into a network."""
    function: Any = None
    if replacement.way == "converter":
        function = load_function(
            replacement.by, search_path
        )  # importing it may declare the operator
    if replacement.kind == "function":
        as_operator(replacement, search_path)
        op = function_operator(replacement)
    else:
        op = operator_name(replacement.pattern)
    if parameters(op) is None:
        namespace = getattr(torch.ops, op.partition(".")[0])
        raise nothing(
            "operator",
            replacement,
            {str(f) for n in dir(namespace) for f in _overloads(namespace, n)},
        )
    table = Table(f"replacement of {replacement}")
    try:
        table.row(op, function or plugin_converter(op, replacement.by))
    except (ValueError, TypeError) as error:
        raise ReplaceRefused(
            "converter",
            f"{replacement.by} does not fit {op}: {error}",
            f"declare it as (net, {', '.join(parameters(op) or ())})",
        ) from error
    return table


def _overloads(namespace: Any, name: str) -> Iterator[str]:
    packet = getattr(namespace, name)
    if isinstance(packet, torch._ops.OpOverloadPacket):
        for overload in packet.overloads():  # type: ignore[no-untyped-call]
            yield f"{packet._qualified_op_name.replace('::', '.')}.{overload}"


def _check_plugin(replacement: Replacement, target: Target | None) -> None:
    if target is not None and target.backend == "rtx":
        raise ReplaceRefused(
            "plugin",
            f"{replacement} asks for the plugin {replacement.by!r}, got target {target}: "
            "TensorRT-RTX has no plugins",
            "give the operator a `converter` for it, or list only trt: and torch: targets",
        )


def check_operators(
    exported: ExportedProgram, replacements: Sequence[Replacement]
) -> tuple[Replaced, ...]:
    """The calls that the user's converters and plugins will write; ReplaceRefused if one has none."""
    done = []
    for replacement in replacements:
        if replacement.way == "with":
            continue
        name = operator_name(replacement.pattern)
        if replacement.kind == "function":
            name = function_operator(replacement)
        places = tuple(n.name for n in exported.graph.nodes if str(n.target) == name)
        if not places:
            raise nothing("operator", replacement, operators_of(exported))
        done.append(Replaced(replacement, places))
    return tuple(done)


def operator_name(pattern: str) -> str:
    """`mylib::op`, `torch.ops.mylib.op` or `mylib.op` as `mylib.op.default`."""
    plain = pattern.removeprefix("torch.ops.").replace("::", ".")
    return plain if plain.count(".") > 1 else f"{plain}.default"


def operators_of(exported: ExportedProgram) -> set[str]:
    """The overloads that the program calls."""
    nodes = exported.graph.nodes
    return {str(n.target) for n in nodes if isinstance(n.target, torch._ops.OpOverload)}
