"""Programs that need no decomposition: each call is to be kept whole, or has a functional twin.

Torch's `run_decompositions` retraces the whole program, which takes longer than exporting it did. A
model whose operators the converters all take skips that: it only needs its in-place calls rewritten
as functional ones, where nothing else can see the tensor that they change.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.lower.calls import SYM_FUNCTIONS
from compiler.lower.graphs import copied
from compiler.lower.noops import ASSERTS, is_inactive_dropout

_FRESH_COMPOSITES = frozenset(
    f"aten.{name}"
    for name in (
        "batch_norm.default", "conv1d.default", "conv2d.default", "conv3d.default",
        "group_norm.default", "instance_norm.default", "layer_norm.default", "linear.default",
        "matmul.default", "rms_norm.default", "scaled_dot_product_attention.default",
    )
)  # fmt: skip
"""Composite operators that always return a new tensor. Unlike the rest of ATen, a composite operator
may return its argument without declaring that in its schema, as dropout does."""


def without_decomposition(
    exported: ExportedProgram, keep: frozenset[str]
) -> ExportedProgram | None:
    """A functional copy of a program whose every call is in `keep`; None if it needs more than that."""
    if not all(_is_simple(node, keep) for node in exported.graph.nodes):
        return None
    program = copied(exported)
    order = {node: place for place, node in enumerate(program.graph.nodes)}
    for node in list(program.graph.nodes):
        if _writes(node) and not _made_functional(node, order, program.graph):
            return None
    return program


def _is_simple(node: torch.fx.Node, keep: frozenset[str]) -> bool:
    if node.op in ("placeholder", "output"):
        return True
    if node.op != "call_function" or isinstance(node.target, torch._ops.HigherOrderOperator):
        return False
    if not isinstance(node.target, torch._ops.OpOverload):
        # Others, such as what torch.vmap leaves around the calls that it maps, go when they are retraced.
        return (
            node.target is operator.getitem
            or node.target in SYM_FUNCTIONS
            or node.target in ASSERTS
        )
    if node.target in ASSERTS or is_inactive_dropout(node):
        return True
    target = _twin(node.target) if _writes(node) else node.target
    return target is not None and str(target) in keep


def _writes(node: torch.fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _twin(target: Any) -> Any:
    """The functional operator with the arguments of an in-place one, or None."""
    name = target._schema.name.partition("::")[2]
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None)
    twin = getattr(packet, target._overloadname, None)
    if not name.endswith("_") or target.namespace != "aten" or twin is None:
        return None
    mine, its = ([(a.name, str(a.type)) for a in t._schema.arguments] for t in (target, twin))
    return twin if mine == its else None


def _made_functional(
    node: torch.fx.Node, order: dict[torch.fx.Node, int], graph: torch.fx.Graph
) -> bool:
    """Replace the node by its functional twin, if only later readers can tell the difference."""
    written = node.args[0] if node.args else None
    if not isinstance(written, torch.fx.Node) or not _is_fresh(written):
        return False
    tensors = [n.meta["val"] for n in node.all_input_nodes]
    if any(isinstance(t, torch.Tensor) and t.dtype != tensors[0].dtype for t in tensors):
        return False  # type promotion would give the twin another dtype
    before = [user for user in written.users if order[user] < order[node]]
    if not all(_is_fresh(user) or user.target in ASSERTS for user in before):
        return False  # a view of the tensor would show the change
    node.target = _twin(node.target)
    written.replace_all_uses_with(node, lambda user: order[user] > order[node])
    return True


def _is_fresh(node: torch.fx.Node) -> bool:
    """Whether a call's result is a new tensor that aliases nothing."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or target._schema.is_mutable:
        return False
    if any(result.alias_info is not None for result in target._schema.returns):
        return False
    name = target.name()  # type: ignore[no-untyped-call]
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")
    return not composite or str(target) in _FRESH_COMPOSITES
