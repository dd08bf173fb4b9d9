"""Batch norm at inference as one multiplication and one addition, where no converter takes it."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.lower.constants import add_constant
from compiler.lower.passes import Options, Pass, weight_nodes

aten = torch.ops.aten
NAME = "aten._native_batch_norm_legit_no_training.default"


def _fold(exported: ExportedProgram, options: Options) -> ExportedProgram:
    if NAME in options.keep:
        return exported
    weights = weight_nodes(exported)
    for node in list(exported.graph.nodes):
        if str(node.target) != NAME:
            continue
        source, gamma, beta, mean, var, _, eps = node.args
        if any(item is not None and item not in weights for item in (gamma, beta, mean, var)):
            continue
        with torch.no_grad():
            scale = (weights[var].double() + eps).rsqrt()
            scale = scale * weights[gamma].double() if gamma is not None else scale
            shift = -weights[mean].double() * scale
            shift = shift + weights[beta].double() if beta is not None else shift
        dtype, rank = source.meta["val"].dtype, source.meta["val"].dim()
        broadcast = (-1, *[1] * (rank - 2))
        factor = add_constant(exported, f"{node.name}_scale", scale.to(dtype).view(broadcast), node)
        offset = add_constant(exported, f"{node.name}_shift", shift.to(dtype).view(broadcast), node)
        with exported.graph.inserting_before(node):
            product = _binary(exported, aten.mul.Tensor, source, factor, node)
            result = _binary(exported, aten.add.Tensor, product, offset, node)
        for user in list(node.users):
            if user.args[1] == 0:
                user.replace_all_uses_with(result)
    return exported


def _binary(
    exported: ExportedProgram,
    op: Any,
    left: torch.fx.Node,
    right: torch.fx.Node,
    like: torch.fx.Node,
) -> torch.fx.Node:
    node: torch.fx.Node = exported.graph.call_function(op, (left, right))
    node.meta = {k: v for k, v in like.meta.items() if k in ("stack_trace", "nn_module_stack")}
    node.meta["val"] = left.meta["val"]
    return node


FOLD_BATCH_NORM = Pass(
    name="fold_batch_norm",
    requires="functional calls, batch norm in its inference form",
    ensures="no batch norm on fixed statistics, if no converter takes it whole",
    run=_fold,
    reads=("keep",),
)
