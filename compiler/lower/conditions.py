"""Conditions that several passes require or ensure. A pass's own conditions are in its file."""

from __future__ import annotations

import torch
from torch.export import ExportedProgram

from compiler.lower.graphs import bodies, calls, is_pure
from compiler.lower.passes import LowerOptions


def values_known(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """Every node but the output and the bodies of control flow has metadata: its value's shape and dtype."""
    for node in exported.graph.nodes:
        if node.op not in ("output", "get_attr") and "val" not in node.meta:
            return f"node {node.name} ({node.target}) has no metadata"
    return None


def functional(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """No call changes its arguments, in the bodies of control flow neither."""
    inner = (node for body in bodies(exported.graph_module) for node in body.graph.nodes)
    for node in (*exported.graph.nodes, *inner):
        if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
            return f"node {node.name} ({node.target}) changes its arguments"
    return None


def no_dead_calls(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """Every pure call has a reader."""
    for node in calls(exported):
        if not node.users and is_pure(node):
            return f"nothing reads node {node.name} ({node.target})"
    return None
