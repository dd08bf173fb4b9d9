"""Numbers that a model puts into a tensor and reads back: `torch.tensor(x.shape[1]).item()`.

Export treats the number read as unknown, and every size computed from it as data-dependent. Here the
arithmetic in between is done on the numbers themselves instead.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.lower.conditions import functional
from compiler.lower.graphs import calls
from compiler.lower.noops import no_assertions
from compiler.lower.passes import LowerOptions, Pass

aten = torch.ops.aten

Number = int | torch.fx.Node
Sum = tuple[Callable[[Any, Any], Any], Any, Any]
"""A function of two numbers that no node computes yet: (function, left, right)."""

_MADE = (aten.scalar_tensor.default, aten.full.default)
_KEPT = (
    aten.clone.default, aten.detach.default, aten.alias.default, aten.lift_fresh_copy.default,
    aten._to_copy.default,
)  # fmt: skip
_ARITHMETIC: dict[Any, Callable[[Any, Any], Any]] = {
    aten.add.Tensor: operator.add,
    aten.add.Scalar: operator.add,
    aten.sub.Tensor: operator.sub,
    aten.sub.Scalar: operator.sub,
    aten.mul.Tensor: operator.mul,
    aten.mul.Scalar: operator.mul,
}
_REVERSED: dict[Any, Callable[[Any, Any], Any]] = {
    aten.rsub.Tensor: operator.sub,
    aten.rsub.Scalar: operator.sub,
}


def _read_numbers(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
    read = 0
    for node in calls(exported):
        found = _read_back(node)
        if found is None:
            continue
        with exported.graph.inserting_before(node):
            number = _written(found, exported.graph)
        if isinstance(number, torch.fx.Node):
            _unify(node.meta["val"], number.meta["val"])
            node.replace_all_uses_with(number)
            exported.graph.erase_node(node)
            read += 1
    # Recompute the shapes that depended on the unknown.
    return exported.run_decompositions({}) if read else exported


def _read_back(node: torch.fx.Node) -> Number | Sum | None:
    """The number that a node reads from a tensor, if the model put it there."""
    if node.target is not aten._local_scalar_dense.default:
        return None
    return _number(node.args[0])


def _number(node: object) -> Number | Sum | None:
    """The number in a 0-dimensional int64 tensor (or an argument that is a number), or None."""
    if isinstance(node, int) and not isinstance(node, bool):
        return node
    if not isinstance(node, torch.fx.Node):
        return None
    value = node.meta.get("val")
    if isinstance(value, torch.SymInt):
        return node
    if not isinstance(value, torch.Tensor) or value.dtype != torch.int64 or value.ndim:
        return None
    if node.target in _MADE:
        return _number(node.args[-1])
    if node.target in _KEPT:
        return _number(node.args[0])
    target: Any = node.target
    function = _ARITHMETIC.get(target) or _REVERSED.get(target)
    if function is None or node.kwargs or len(node.args) != 2:
        return None
    left, right = (_number(argument) for argument in node.args)
    if left is None or right is None:
        return None
    if node.target in _REVERSED:
        left, right = right, left
    if isinstance(left, int) and isinstance(right, int):
        return int(function(left, right))
    return function, left, right


def _written(number: Number | Sum, graph: torch.fx.Graph) -> Number:
    """The number itself, or the node that computes it."""
    if not isinstance(number, tuple):
        return number
    function, *operands = number
    left, right = (_written(operand, graph) for operand in operands)
    a, b = (n.meta["val"] if isinstance(n, torch.fx.Node) else n for n in (left, right))
    node = graph.call_function(function, (left, right))
    node.meta["val"] = function(a, b)
    return node


def _unify(unknown: torch.SymInt, number: torch.SymInt) -> None:
    """Replace the unknown by the number it was read from, wherever it occurs in shapes."""
    environment = unknown.node.shape_env
    environment._set_replacement(unknown.node.expr, number.node.expr, "read back from a tensor")


def no_sizes_read_back(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """No number computed from sizes is read back from a tensor that it was put into."""
    for node in calls(exported):
        if not isinstance(_read_back(node), int | None):
            return f"node {node.name} reads a number computed from sizes back from {node.args[0]}"
    return None


READ_NUMBERS = Pass(
    name="read_numbers",
    requires=(functional, no_assertions),
    ensures=(no_sizes_read_back,),
    run=_read_numbers,
)
