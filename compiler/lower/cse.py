"""Common subexpressions: equal pure calls become one, and so do sizes of equal value."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from compiler.lower.conditions import functional
from compiler.lower.graphs import calls, is_pure
from compiler.lower.passes import LowerOptions, Pass


def _share(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
    seen: dict[Any, torch.fx.Node] = {}
    for node in filter(is_pure, calls(exported)):
        key = _call_key(node)
        if key in seen:
            node.replace_all_uses_with(seen[key])
        else:
            seen[key] = node
    return exported


def no_equal_calls(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """No two pure calls have the same operator and arguments, and no two compute the same size."""
    seen: dict[Any, torch.fx.Node] = {}
    for node in filter(is_pure, calls(exported)):
        first = seen.setdefault(_call_key(node), node)
        if first is not node:
            return f"nodes {first.name} and {node.name} are equal calls of {node.target}"
    return None


def _call_key(node: torch.fx.Node) -> Any:
    """Equal for two pure calls exactly if one can replace the other."""
    return _size_key(node) or (str(node.target), _key(node.args), _key(node.kwargs))


def _size_key(node: torch.fx.Node) -> Any:
    """Sizes with equal expressions are equal: both follow from the inputs' shapes."""
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
    # 1, 1.0 and True are equal in Python, but they are different arguments.
    return type(value), str(value)


SHARE_EQUAL_CALLS = Pass(
    name="share_equal_calls",
    requires=(functional,),
    ensures=(no_equal_calls,),
    run=_share,
)
