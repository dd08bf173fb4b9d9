"""Dynamo's names for things, as names in the user's model."""

from __future__ import annotations

import re
from typing import Any

import torch

from compiler.trace.origin import origin_of

_WEIGHT = re.compile(r"\._(?:parameters|buffers)\['[^']+'\]\Z")
_PART = re.compile(r"\._(?:modules|parameters|buffers)\['([^']+)'\]|\.([A-Za-z_]\w*)")
_ROOT = re.compile(r"\A[LG]\['([^']+)'\]")


def is_weight(node: torch.fx.Node) -> bool:
    """Whether a placeholder is a parameter or buffer of a module."""
    return _WEIGHT.search(source(node)) is not None


def source(node: torch.fx.Node) -> str:
    """How Dynamo found the value: `L['self']._modules['fc']._parameters['weight']`."""
    name = getattr(getattr(node, "_dynamo_source", None), "name", "")
    return str(name() if callable(name) else name)


def weight_name(node: torch.fx.Node) -> str:
    """A parameter's path in the model: `encoder.layers.0.weight`. Empty if it has none."""
    parts = _PART.findall(_ROOT.sub("", source(node)))
    return ".".join(part for pair in parts for part in pair if part)


def input_name(node: torch.fx.Node) -> str:
    """An argument's name in the compiled function, or the node's if it is not an argument."""
    root = _ROOT.match(source(node))
    plain = root and root.end() == len(source(node)) and root[1].isidentifier()
    return root[1] if root and plain else str(node.name)


def module_path(path: str) -> str:
    """`L['self'].encoder.layers.0` as `encoder.layers.0`: the path below the compiled module."""
    parts = _PART.sub(lambda m: f".{m[1] or m[2]}", _ROOT.sub("", path))
    return parts.strip(".")


def place_of(node: torch.fx.Node) -> dict[str, Any]:
    """A call's stack trace, and path and class of each module around it."""
    stack = node.meta.get("nn_module_stack") or {}
    modules = [
        [module_path(str(path)), getattr(kind, "__name__", str(kind))]
        for path, kind in stack.values()
    ]
    return {"trace": node.meta.get("stack_trace") or "", "modules": modules}


def first_place(module: torch.fx.GraphModule) -> str:
    """` at file:line` of the graph's first call."""
    return next(
        (found for n in module.graph.nodes if n.op.startswith("call") and (found := at(n))), ""
    )


def at(node: torch.fx.Node) -> str:
    """` at file:line` of a call; empty if nothing is known."""
    origin = origin_of(node)
    return f" at {origin.file}:{origin.line}" if origin.file else ""
