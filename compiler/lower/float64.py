"""Positions that a model computes in float64 before it casts them: tables of sines, over sizes that are dynamic.

TensorRT has no float64. Where it comes from integers, sizes and weights alone, goes through smooth functions only
and ends in a cast to a smaller float, float32 gives the same up to the rounding of that cast times the size of the
angles. What rounds, compares or counts keeps its float64, and so runs in torch.
"""

from __future__ import annotations

import operator

import torch
from torch.export import ExportedProgram

from compiler.lower.conditions import functional
from compiler.lower.float32 import op_name, tensors
from compiler.lower.graphs import calls
from compiler.lower.passes import LowerOptions, Pass
from compiler.lower.writer import Writer

aten = torch.ops.aten

_SMOOTH = frozenset((
    "arange", "full", "scalar_tensor", "zeros", "ones", "_to_copy", "to", "add", "sub", "rsub", "mul", "div", "neg",
    "pow", "sqrt", "rsqrt", "reciprocal", "exp", "exp2", "log", "log2", "sin", "cos", "outer", "mm", "matmul", "cat",
    "stack", "meshgrid", "view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "expand", "permute",
    "transpose", "clone", "slice", "select", "repeat", "flatten", "alias",
))  # fmt: skip
"""Operators without jumps, and those that move numbers."""


def _narrow(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
    chosen = _positions(exported)
    made: dict[torch.fx.Node, torch.fx.Node] = {}
    for node in calls(exported):
        if node not in chosen:
            continue
        writer = Writer(exported, node)

        def narrowed(source: torch.fx.Node, writer: Writer = writer) -> torch.fx.Node:
            if source in chosen or not _is_double(source):
                return made.get(source, source)
            return writer.call(aten._to_copy.default, source, dtype=torch.float32)

        args, kwargs = torch.fx.map_arg((node.args, node.kwargs), narrowed)
        smaller = [torch.float32 if a is torch.float64 else a for a in args]
        words = {k: torch.float32 if v is torch.float64 else v for k, v in kwargs.items()}
        made[node] = writer.call(node.target, *smaller, **words)
    for node, new in made.items():
        node.replace_all_uses_with(new)
    return exported


def _positions(exported: ExportedProgram) -> set[torch.fx.Node]:
    """The calls in float64 that float32 does as well for."""
    weights = {
        spec.arg.name for spec in exported.graph_signature.input_specs if spec.target is not None
    }
    found: set[torch.fx.Node] = set()
    for node in calls(exported):
        smooth = op_name(node) in _SMOOTH or node.target is operator.getitem
        if not (_is_double(node) and smooth) or node.kwargs.get("rounding_mode") is not None:
            continue
        floats = [n for n in node.all_input_nodes if any(t.is_floating_point() for t in tensors(n))]
        if all(n in found or n.name in weights for n in floats):
            found.add(node)
    while wrong := {n for n in found if not all(u in found or _is_cast(u) for u in n.users)}:
        found -= wrong
        found -= {n for n in found if any(s in wrong for s in n.all_input_nodes)}
    return found


def _is_double(node: torch.fx.Node) -> bool:
    return any(t.dtype is torch.float64 for t in tensors(node))


def _is_cast(node: torch.fx.Node) -> bool:
    """To a smaller float."""
    (*_, value) = (None, *tensors(node))
    narrow = (torch.float32, torch.float16, torch.bfloat16)
    return op_name(node) in ("_to_copy", "to") and value is not None and value.dtype in narrow


def no_double_positions(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """No positions are computed in float64 only to be cast to a smaller float."""
    for node in _positions(exported):
        return f"node {node.name} ({node.target}) computes in float64"
    return None


NARROW_POSITIONS = Pass(
    name="narrow_positions",
    requires=(functional,),
    ensures=(no_double_positions,),
    run=_narrow,
)
