"""Calls that compute nothing: assertions, copies that change neither values nor layout, dropout."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import statically_known_true

from compiler.lower.conditions import functional
from compiler.lower.graphs import bodies, calls
from compiler.lower.passes import LowerOptions, Pass

aten = torch.ops.aten

ASSERTS = (
    aten._assert_tensor_metadata.default,
    aten._assert_scalar.default,
    aten._assert_async.default,
    aten._assert_async.msg,
    aten._functional_assert_async.msg,
    aten._functional_assert_scalar.default,
    aten.sym_constrain_range.default,
    aten.sym_constrain_range_for_size.default,
    torch._check,
)
DROPOUTS = (
    aten.dropout.default,
    aten.feature_dropout.default,
    aten.alpha_dropout.default,
    aten.feature_alpha_dropout.default,
)
COPIES = (
    aten.alias.default,
    aten.detach.default,
    aten.lift_fresh_copy.default,
    aten.lift_fresh.default,
    aten.clone.default,
    aten.contiguous.default,
    aten._to_copy.default,
    aten.to.dtype,
    aten.to.dtype_layout,
    aten.to.device,
    aten.to.other,
    aten.type_as.default,
    aten.view.default,
    aten.reshape.default,
    aten.expand.default,
    *DROPOUTS,
)
"""Operators whose result can be their first argument, unchanged."""


def _remove_asserts(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
    inner = [body.graph for body in bodies(exported.graph_module)]
    for graph in (exported.graph, *inner):
        for node in reversed(list(graph.nodes)):
            if node.target in ASSERTS:
                graph.erase_node(node)
    return exported


def _remove_noops(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
    for node in calls(exported):
        for user, source in _passed_on(node):
            user.replace_all_uses_with(source)
        if _is_noop(node):
            node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
            exported.graph.erase_node(
                node
            )  # dropout counts as random, so it would outlive its readers
    return exported


def _is_noop(node: torch.fx.Node) -> bool:
    """Whether a call's result is its first argument, unchanged."""
    if node.target not in COPIES:
        return False
    if node.target in DROPOUTS:
        return is_inactive_dropout(node)
    source: Any = node.args[0]
    return _same_tensor(source.meta["val"], node.meta["val"])


def _passed_on(node: torch.fx.Node) -> list[tuple[torch.fx.Node, torch.fx.Node]]:
    """The statistics that a batch norm outside training returns unchanged: (result, source)."""
    if node.target is not aten._native_batch_norm_legit_functional.default or node.args[5]:
        return []
    return [
        (user, source)
        for user in node.users
        for place in (3, 4)
        if user.args[1] == place and isinstance(source := node.args[place], torch.fx.Node)
    ]


def is_inactive_dropout(node: torch.fx.Node) -> bool:
    """Whether a call is a dropout in eval mode."""
    if node.target not in DROPOUTS:
        return False
    return not (node.args[2] if len(node.args) > 2 else node.kwargs["train"])


def _same_tensor(one: Any, other: Any) -> bool:
    """Whether two tensors agree in dtype, shape and strides.

    A copy into another layout is kept: a later `view` may depend on it.
    """
    if one.dtype != other.dtype or one.dim() != other.dim() or one.device != other.device:
        return False
    pairs = [*zip(one.shape, other.shape, strict=True)]
    pairs += zip(one.stride(), other.stride(), strict=True)
    return all(statically_known_true(a == b) for a, b in pairs)


def no_assertions(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """No runtime assertion: the loader checks shapes and dtypes at the border."""
    for node in calls(exported):
        if node.target in ASSERTS:
            return f"node {node.name} calls {node.target}"
    return None


def no_noops(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """No inactive dropout, no copy that keeps dtype, shape and strides, no statistics passed on."""
    for node in calls(exported):
        if _is_noop(node):
            return f"node {node.name} ({node.target}) is its argument {node.args[0]}"
        for user, source in _passed_on(node):
            return f"node {user.name} is the statistics {source} of {node.name}, passed on"
    return None


REMOVE_ASSERTS = Pass(
    name="remove_asserts",
    requires=(functional,),
    ensures=(no_assertions,),
    run=_remove_asserts,
)
REMOVE_NOOPS = Pass(
    name="remove_noops",
    requires=(functional,),  # so that a copy and its source may be one value
    ensures=(no_noops,),
    run=_remove_noops,
)
