"""Strides and storage offsets rewritten as sizes, and as positions in a tensor in C order.

A graph's values are tensors without strides: engines return them in C order, whatever the traced
model had. Calls that read memory by stride are therefore rewritten with the strides seen in tracing.
"""

from __future__ import annotations

import operator
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import statically_known_true

from compiler.lower.conditions import functional
from compiler.lower.graphs import calls
from compiler.lower.passes import LowerOptions, Pass
from compiler.lower.writer import Writer

aten = torch.ops.aten
NUMBERS = (aten.sym_stride.int, aten.sym_storage_offset.default)


STRIDED = (aten.as_strided.default, aten.as_strided_copy.default)


def _resolve(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
    symbols = _size_symbols(exported)
    for node in calls(exported):
        if not _is_resolvable(node, symbols):
            continue
        writer = Writer(exported, node)
        if node.target in NUMBERS:
            made = SizeWriter(writer).number(node.meta["val"])
        elif node.target in STRIDED:
            made = _taken(writer, node)
        elif node.target is aten.as_strided_scatter.default:
            made = _written(writer, node)
        else:
            made = _resized(writer, node)
        assert isinstance(made, torch.fx.Node)
        node.replace_all_uses_with(made)
    return exported


def _is_resolvable(node: torch.fx.Node, symbols: Symbols) -> bool:
    """Whether a call can be rewritten: what it reads of strides or memory follows from the inputs' sizes."""
    if node.target in NUMBERS:
        number = node.meta["val"]
        is_constant = not isinstance(number, torch.SymInt) or number.node.expr.is_Integer
        return not is_constant and _is_known(number, symbols)
    source: Any = node.args[0] if node.args else None
    if node.target in STRIDED:
        start = _offset(node)
        start = source.meta["val"].storage_offset() if start is None else start
        if isinstance(start, torch.SymInt) and not _is_known(start, symbols):
            return False
        return _memory_order(_owner(source).meta["val"]) is not None
    if node.target is aten.as_strided_scatter.default:
        return _memory_order(source.meta["val"]) is not None
    if node.target is aten.resize.default:
        value, made = source.meta["val"], node.meta["val"]
        # The additional elements of a larger result are uninitialized.
        fits = made.is_contiguous() and statically_known_true(made.numel() <= value.numel())
        return fits and _memory_order(value) is not None
    return False


def strides_resolved(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """No stride, offset, as_strided or resize whose meaning follows from the inputs' sizes."""
    symbols = _size_symbols(exported)
    for node in calls(exported):
        if _is_resolvable(node, symbols):
            return f"node {node.name} calls {node.target}"
    return None


Symbols = dict[sympy.Symbol, tuple[torch.fx.Node, int]]
"""The input and dimension whose size a symbol is."""


def _size_symbols(exported: ExportedProgram) -> Symbols:
    symbols: Symbols = {}
    for node in exported.graph.nodes:
        shape = getattr(node.meta.get("val"), "shape", ()) if node.op == "placeholder" else ()
        for axis, size in enumerate(shape):
            if isinstance(size, torch.SymInt) and isinstance(size.node.expr, sympy.Symbol):
                symbols.setdefault(size.node.expr, (node, axis))
    return symbols


def _is_known(number: int | torch.SymInt, symbols: Symbols) -> bool:
    """Whether a number is an integer or a polynomial of the inputs' sizes."""
    return not isinstance(number, torch.SymInt) or _is_polynomial(number.node.expr, symbols)


def _is_polynomial(expression: sympy.Expr, symbols: Symbols) -> bool:
    if isinstance(expression, sympy.Integer) or expression in symbols:
        return True
    if isinstance(expression, sympy.Add | sympy.Mul) or _is_power(expression):
        return all(_is_polynomial(half, symbols) for half in _halves(expression))
    return False


class SizeWriter:
    """Writes numbers that follow from the inputs' sizes as nodes."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.symbols = _size_symbols(writer.exported)

    def number(self, number: int | torch.SymInt) -> int | torch.fx.Node | None:
        """A number unchanged, or a node that computes it; None if it needs more than the inputs' sizes."""
        if not isinstance(number, torch.SymInt):
            return number
        return self._of(number.node.expr) if _is_known(number, self.symbols) else None

    def _of(self, expression: sympy.Expr) -> int | torch.fx.Node:
        if isinstance(expression, sympy.Integer):
            return int(expression)
        if expression in self.symbols:
            source, axis = self.symbols[expression]
            return self.writer.call(aten.sym_size.int, source, axis)
        function = operator.add if isinstance(expression, sympy.Add) else operator.mul
        first, rest = _halves(expression)
        return self.writer.call(function, self._of(first), self._of(rest))


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


def _offset(node: torch.fx.Node) -> Any:
    """The offset given to a call of as_strided or as_strided_scatter, or None."""
    place = 4 if node.target is aten.as_strided_scatter.default else 3
    return node.args[place] if len(node.args) > place else node.kwargs.get("storage_offset")


def _taken(writer: Writer, node: torch.fx.Node) -> torch.fx.Node:
    """as_strided, as elements taken from the tensor that owns the memory."""
    source, size, stride = node.args[:3]
    assert isinstance(source, torch.fx.Node)
    start = _offset(node)
    if start is None:
        start = SizeWriter(writer).number(source.meta["val"].storage_offset())
    base = _owner(source)
    order = _memory_order(base.meta["val"])
    assert order is not None
    if order != sorted(order):
        base = writer.call(aten.permute.default, base, order)
    return writer.call(aten.take.default, base, _places(writer, size, stride, start))


def _written(writer: Writer, node: torch.fx.Node) -> torch.fx.Node:
    """as_strided_scatter, as elements put at positions in its first tensor."""
    source, written, size, stride = node.args[:4]
    assert isinstance(source, torch.fx.Node)
    order = _memory_order(source.meta["val"])
    assert order is not None
    moved = order != sorted(order)
    base = writer.call(aten.permute.default, source, order) if moved else source
    places = _places(writer, size, stride, _offset(node) or 0)
    result = writer.call(aten.put.default, base, places, written)
    if not moved:
        return result
    return writer.call(aten.permute.default, result, [order.index(i) for i in range(len(order))])


def _resized(writer: Writer, node: torch.fx.Node) -> torch.fx.Node:
    """resize, as the first elements in memory taken into the new shape."""
    source, size = node.args[:2]
    assert isinstance(source, torch.fx.Node)
    value, made = source.meta["val"], node.meta["val"]
    order = _memory_order(value)
    assert order is not None
    base = writer.call(aten.permute.default, source, order) if order != sorted(order) else source
    return writer.call(aten.take.default, base, _places(writer, size, made.stride(), 0))


def _owner(node: torch.fx.Node) -> torch.fx.Node:
    """The node that made the memory of which `node` is a view."""
    while (source := _viewed(node)) is not None:
        node = source
    return node


def _viewed(node: torch.fx.Node) -> torch.fx.Node | None:
    """The node that `node` is a view of, or None."""
    call: Any = node.args[0] if node.target is operator.getitem else node
    schema = getattr(call.target, "_schema", None)
    if schema is None or not schema.arguments or schema.arguments[0].alias_info is None:
        return None
    source: torch.fx.Node = call.args[0]
    # Reshape is declared a view, but copies where it must.
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
    """A sort key that puts long strides first, at the sizes seen in tracing."""
    stride, size = value.stride(axis), value.shape[axis]
    hints = [n.node.hint if isinstance(n, torch.SymInt) else n for n in (stride, size)]
    return -hints[0], -hints[1]


def _places(writer: Writer, size: Any, stride: Any, start: Any) -> torch.fx.Node:
    """int64 positions in memory, with the shape of the result."""
    if all(isinstance(n, int) for n in (*size, *stride, start)):
        fixed = torch.tensor(start)
        for length, step in zip(size, stride, strict=True):
            fixed = fixed.unsqueeze(-1) + torch.arange(length) * step
        return writer.constant("places", fixed.contiguous())
    total: Any = start
    for axis, (length, step) in enumerate(zip(size, stride, strict=True)):
        row = writer.arange(length)
        row = writer.call(aten.mul.Tensor, row, step)
        behind = len(size) - axis - 1
        if behind:
            row = writer.call(aten.view.default, row, [-1, *[1] * behind])
        total = writer.call(aten.add.Tensor, row, total)
    assert isinstance(total, torch.fx.Node)
    return total


RESOLVE_STRIDES = Pass(
    name="resolve_strides",
    requires=(functional,),
    ensures=(strides_resolved,),
    run=_resolve,
)
