"""Common subexpressions: equal pure calls become one, and so do sizes of equal value."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from compiler.lower.passes import Options, Pass, is_pure


def _share(exported: ExportedProgram, _: Options) -> ExportedProgram:
    seen: dict[Any, torch.fx.Node] = {}
    for node in exported.graph.nodes:
        if node.op != "call_function" or not is_pure(node):
            continue
        key = _size_key(node) or (str(node.target), _key(node.args), _key(node.kwargs))
        if key in seen:
            node.replace_all_uses_with(seen[key])
        else:
            seen[key] = node
    return exported


def _size_key(node: torch.fx.Node) -> Any:
    """Sizes are equal if their expressions are: the inputs' shapes decide both."""
    value = node.meta.get("val")
    if isinstance(value, torch.SymInt) and not free_unbacked_symbols(value):
        return ("size", str(value.node.expr))
    return None


def _key(value: Any) -> Any:
    if isinstance(value, torch.fx.Node):
        return value
    if isinstance(value, list | tuple):
        return tuple(_key(item) for item in value)
    if isinstance(value, dict):
        return tuple((name, _key(value[name])) for name in sorted(value))
    # 1, 1.0 and True are equal in Python and different arguments.
    return type(value), str(value)


SHARE_EQUAL_CALLS = Pass(
    name="share_equal_calls",
    requires="functional calls",
    ensures="no two pure calls with the same operator and arguments; one node for each size",
    run=_share,
)
