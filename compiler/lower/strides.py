"""Strides and offsets of memory as what they mean: sizes, and places in a tensor in C order.

A graph's values are tensors without strides: engines hand over C order, whatever the traced model
had. What reads memory by stride is therefore rewritten from the strides seen while tracing.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import statically_known_true

from compiler.lower.constants import add_constant
from compiler.lower.passes import Options, Pass

aten = torch.ops.aten
NUMBERS = (aten.sym_stride.int, aten.sym_storage_offset.default)


def _resolve(exported: ExportedProgram, _: Options) -> ExportedProgram:
    for node in list(exported.graph.nodes):
        if node.target in NUMBERS:
            with exported.graph.inserting_before(node):
                number = Sizes(exported).node(node.meta["val"])
            if isinstance(number, torch.fx.Node):
                node.replace_all_uses_with(number)
        elif node.target is aten.as_strided.default:
            with exported.graph.inserting_before(node):
                taken = _taken(exported, node)
            if taken is not None:
                node.replace_all_uses_with(taken)
    return exported


class Sizes:
    """Writes numbers over the inputs' sizes as nodes, where the graph inserts."""

    def __init__(self, exported: ExportedProgram) -> None:
        self.graph = exported.graph
        self.symbols: dict[sympy.Symbol, tuple[torch.fx.Node, int]] = {}
        """The input and dimension whose size a symbol is."""
        for node in self.graph.nodes:
            shape = getattr(node.meta.get("val"), "shape", ()) if node.op == "placeholder" else ()
            for axis, size in enumerate(shape):
                if isinstance(size, torch.SymInt) and isinstance(size.node.expr, sympy.Symbol):
                    self.symbols.setdefault(size.node.expr, (node, axis))

    def node(self, number: int | torch.SymInt) -> int | torch.fx.Node | None:
        """The number as it is, or a node that computes it; None if some symbol is no input's size."""
        if not isinstance(number, torch.SymInt):
            return number
        environment = number.node.shape_env
        return self._of(number.node.expr, environment)

    def _of(self, expression: sympy.Expr, environment: Any) -> int | torch.fx.Node | None:
        if isinstance(expression, sympy.Integer):
            return int(expression)
        made: torch.fx.Node
        if expression in self.symbols:
            source, axis = self.symbols[expression]
            made = self.graph.call_function(aten.sym_size.int, (source, axis))
        elif isinstance(expression, sympy.Add | sympy.Mul) or _is_power(expression):
            function = operator.add if isinstance(expression, sympy.Add) else operator.mul
            first, rest = _halves(expression)
            left, right = self._of(first, environment), self._of(rest, environment)
            if left is None or right is None:
                return None
            made = self.graph.call_function(function, (left, right))
        else:
            return None
        made.meta["val"] = environment.create_symintnode(expression, hint=None)
        return made


def _is_power(expression: sympy.Expr) -> bool:
    return (
        isinstance(expression, sympy.Pow) and bool(expression.exp.is_Integer) and expression.exp > 1
    )


def _halves(expression: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    """Two smaller expressions whose sum, or else product, the expression is."""
    first, *rest = expression.args
    if isinstance(expression, sympy.Pow):
        return first, first ** (rest[0] - 1)
    return first, expression.func(*rest)


def _taken(exported: ExportedProgram, node: torch.fx.Node) -> torch.fx.Node | None:
    """as_strided as a choice of elements of the tensor that owns the memory; None where that has
    gaps, or a number can't be written over the inputs' sizes."""
    source, size, stride, *offset = node.args
    assert isinstance(source, torch.fx.Node)
    given = offset[0] if offset else node.kwargs.get("storage_offset")
    start = Sizes(exported).node(source.meta["val"].storage_offset()) if given is None else given
    base = _owner(source)
    order = _memory_order(base.meta["val"])
    if order is None or start is None:
        return None
    places = _places(exported, node, size, stride, start)
    if order != sorted(order):
        base = _call(exported, aten.permute.default, (base, order), node)
    taken = _call(exported, aten.take.default, (base, places), node)
    taken.meta["val"] = _fresh(node.meta["val"])
    return taken


def _owner(node: torch.fx.Node) -> torch.fx.Node:
    """The node that made the memory of which `node` is a view."""
    while (source := _viewed(node)) is not None:
        node = source
    return node


def _viewed(node: torch.fx.Node) -> torch.fx.Node | None:
    """The node whose memory `node` shows in another way, if it does."""
    call: Any = node.args[0] if node.target is operator.getitem else node
    schema = getattr(call.target, "_schema", None)
    if schema is None or not schema.arguments or schema.arguments[0].alias_info is None:
        return None
    source: torch.fx.Node = call.args[0]
    # Reshape is declared a view and copies where it must.
    return source if _memory(source) == _memory(node) else None


def _memory(node: torch.fx.Node) -> int:
    return int(node.meta["val"].untyped_storage()._cdata)


def _memory_order(value: torch.Tensor) -> list[int] | None:
    """Dimensions from the longest stride to the shortest; None if the elements leave gaps."""
    order = sorted(range(value.dim()), key=lambda axis: _rank(value, axis))
    expected: Any = 1
    for axis in reversed(order):
        if not statically_known_true(value.shape[axis] == 1):
            if not statically_known_true(value.stride(axis) == expected):
                return None
            expected = expected * value.shape[axis]
    return order if statically_known_true(value.storage_offset() == 0) else None


def _rank(value: torch.Tensor, axis: int) -> Any:
    """Sorts long strides first, at the sizes that tracing saw."""
    stride, size = value.stride(axis), value.shape[axis]
    hints = [n.node.hint if isinstance(n, torch.SymInt) else n for n in (stride, size)]
    return -hints[0], -hints[1]


def _places(
    exported: ExportedProgram, node: torch.fx.Node, size: Any, stride: Any, start: Any
) -> torch.fx.Node:
    """int64 positions in memory, with the shape of the result."""
    numbers = [*size, *stride, start]
    if all(isinstance(n, int) for n in numbers):
        fixed = torch.tensor(start)
        for length, step in zip(size, stride, strict=True):
            fixed = fixed.unsqueeze(-1) + torch.arange(length) * step
        return add_constant(exported, f"{node.name}_places", fixed.contiguous(), node)
    total: Any = start
    for axis, (length, step) in enumerate(zip(size, stride, strict=True)):
        kwargs = {"dtype": torch.int64, "device": node.meta["val"].device}
        row = _call(exported, aten.arange.default, (length,), node, kwargs)
        row = _call(exported, aten.mul.Tensor, (row, step), node)
        behind = len(size) - axis - 1
        if behind:
            row = _call(exported, aten.view.default, (row, [-1, *[1] * behind]), node)
        total = _call(exported, aten.add.Tensor, (row, total), node)
    assert isinstance(total, torch.fx.Node)
    return total


def _call(
    exported: ExportedProgram,
    op: Any,
    args: tuple[Any, ...],
    like: torch.fx.Node,
    kwargs: Mapping[str, Any] = {},
) -> torch.fx.Node:
    """A call with its metadata computed; origin as of `like`."""
    made: torch.fx.Node = exported.graph.call_function(op, args, dict(kwargs))
    made.meta = {k: v for k, v in like.meta.items() if k in ("stack_trace", "nn_module_stack")}
    values, words = torch.fx.map_arg((args, dict(kwargs)), lambda n: n.meta["val"])
    with like.meta["val"].fake_mode:
        made.meta["val"] = op(*values, **words)
    return made


def _fresh(value: Any) -> Any:
    """The value in C order, in memory of its own."""
    with value.fake_mode:
        return torch.empty(value.shape, dtype=value.dtype, device=value.device)


RESOLVE_STRIDES = Pass(
    name="resolve_strides",
    requires="functional calls with the strides that tracing saw",
    ensures="no stride or offset as a number, and no as_strided, where the inputs' sizes give them",
    run=_resolve,
)
