"""Complex values inside a graph, as pairs of real tensors: TensorRT has no complex type.

Each complex value becomes its real and its imaginary part; `view_as_complex` and `view_as_real`
become selects and stacks in the last dimension, or nothing where one undoes the other. A call that
no rule covers stays complex: its arguments are joined before it and its results split after it, and
those few nodes run in torch. Complex inputs and outputs of the model are handled the same way.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.lower.complex.rules import RULES
from compiler.lower.complex.table import is_complex
from compiler.lower.complex.values import Complex, Values
from compiler.lower.conditions import functional
from compiler.lower.graphs import calls, copied, weight_nodes
from compiler.lower.passes import LowerOptions, Pass
from compiler.lower.writer import Writer

aten = torch.ops.aten


def _pair(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
    if not any(map(is_complex, exported.graph.nodes)):
        return exported
    values = Values(weight_nodes(exported))
    for node in list(exported.graph.nodes):
        if node.op == "output":
            _put_together(values, exported, node)
        if node.op == "call_function":
            _rewrite(values, exported, node)
    return exported


def _rewrite(values: Values, exported: ExportedProgram, node: torch.fx.Node) -> None:
    """Rewrite a node that reads or gives complex numbers by its rule, or keep its call complex."""
    values.writer = Writer(exported, node)
    source: Any = node.args[0] if node.args else None
    if node.target is aten.select.int and source in values.stacked:
        part = _part(values, values.stacked[source], node)
        if part is not None:
            node.replace_all_uses_with(part)
        return
    if not _touches_complex(node):
        return
    made = _result(values, node)
    if made is None:
        _put_together(values, exported, node)
    elif isinstance(made, Complex):
        values.known[node] = values.of_dtype(made, node)
    else:
        node.replace_all_uses_with(made)


def _touches_complex(node: torch.fx.Node) -> bool:
    return is_complex(node) or any(map(is_complex, node.all_input_nodes))


def _result(values: Values, node: torch.fx.Node) -> Complex | torch.fx.Node | None:
    if node.target is operator.getitem:
        source: Any
        source, index = node.args
        if source not in values.known:
            return None
        return values.known[source].map(lambda part: values.call(operator.getitem, part, index))
    if not isinstance(node.target, torch._ops.OpOverload):
        return None
    rule = RULES.get(str(node.target).removeprefix("aten."))
    return None if rule is None else rule(values, node)


def _part(values: Values, value: Complex, node: torch.fx.Node) -> Any:
    """The part that a `select` from a stacked pair chooses; None if it selects in another dimension."""
    source, dim, index = node.args
    assert isinstance(source, torch.fx.Node)
    assert isinstance(dim, int)
    if dim % source.meta["val"].dim() != source.meta["val"].dim() - 1:
        return None
    return value.real if index in (0, -2) else values.imag(value)


def _put_together(values: Values, exported: ExportedProgram, node: torch.fx.Node) -> None:
    """Give complex arguments to a call that stays complex, or to the output."""
    for source in node.all_input_nodes:
        values.writer = Writer(exported, node, source)
        if source in values.known and isinstance(source.meta["val"], torch.Tensor):
            node.replace_input_with(source, values.whole(source))


def complex_paired(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """Complex values only around calls that no rule takes, and at the model's inputs and outputs."""
    if not any(map(is_complex, exported.graph.nodes)):
        return None
    scratch = copied(exported)  # only running a rule shows whether it takes a call
    values = Values(weight_nodes(scratch))
    nodes = [node for node in calls(scratch) if _touches_complex(node)]
    stuck = {n for n in nodes if n.target not in (aten.complex.default, aten.view_as_real.default)}
    border = {n for n in scratch.graph.nodes if n.op == "output"}
    border |= {n for n in scratch.graph.nodes if n.op == "placeholder"} - values.weights.keys()
    for node in nodes:
        values.writer = Writer(scratch, node)
        if node in stuck:
            if _result(values, node) is not None:
                return f"node {node.name} ({node.target}) is complex, and a rule takes it"
        elif not ({*node.users, *node.all_input_nodes} & (stuck | border)):
            return f"node {node.name} ({node.target}) is around no call that stays complex"
    return None


COMPLEX_PAIRS = Pass(
    name="complex_pairs",
    requires=(functional,),
    ensures=(complex_paired,),
    run=_pair,
)
