"""The schemas of ATen overloads: their argument names, and a node's arguments by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from enginebundle.format.graph import Argument, Node, Ref, Word

_OF_ONE = frozenset(["neg", "not", "int", "float", "ceil", "floor", "round", "sqrt"])
"""The `sym.*` of one number."""


def bind(node: Node, look_up: Callable[[Ref], Any]) -> dict[str, Any]:
    """The node's arguments by the schema's names, with defaults filled in and references looked up.

    dtype words become torch.dtype, tuples become lists. TypeError on a call that the schema forbids.
    """
    schema = _schema(node.op)
    if schema is None:
        names = parameters(node.op) or ()
        return {name: _resolve(a, look_up) for name, a in zip(names, node.args, strict=True)}
    bound: dict[str, Any] = {}
    keywords = dict(node.kwargs)
    for position, argument in enumerate(schema.arguments):
        if position < len(node.args) and not argument.kwarg_only:
            bound[argument.name] = _resolve(node.args[position], look_up)
        elif argument.name in keywords:
            bound[argument.name] = _resolve(keywords.pop(argument.name), look_up)
        elif argument.has_default_value():
            bound[argument.name] = argument.default_value
        else:
            raise TypeError(f"{node.op}: argument {argument.name!r} is missing")
    if keywords:
        raise TypeError(f"{node.op}: unknown arguments {sorted(keywords)}")
    return bound


def parameters(op: str) -> tuple[str, ...] | None:
    """Argument names of an overload; None if this torch lacks it. Those of `sym.*` are a, or a and b."""
    namespace, _, name = op.partition(".")
    if namespace == "sym":
        return ("a",) if name in _OF_ONE else ("a", "b")
    schema = _schema(op)
    return None if schema is None else tuple(a.name for a in schema.arguments)


def _schema(op: str) -> Any:
    namespace, _, rest = op.partition(".")
    name, _, overload = rest.partition(".")
    packet = getattr(getattr(torch.ops, namespace), name, None) if namespace != "sym" else None
    found = getattr(packet, overload, None) if packet is not None else None
    return getattr(found, "_schema", None)


def _resolve(argument: Argument, look_up: Callable[[Ref], Any]) -> Any:
    match argument:
        case Ref():
            return look_up(argument)
        case tuple():
            return [_resolve(item, look_up) for item in argument]
        case Word("dtype", name):
            return getattr(torch, name)
        case Word(_, text):
            return text
    return argument
