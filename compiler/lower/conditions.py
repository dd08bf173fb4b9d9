"""Conditions that several passes require or ensure. A pass's own conditions are in its file."""

from __future__ import annotations

import torch
from torch.export import ExportedProgram

from compiler.lower.graphs import calls, is_pure
from compiler.lower.passes import LowerOptions


def values_known(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """Every node but the output has metadata: the shape and dtype of its value."""
    for node in exported.graph.nodes:
        if node.op != "output" and "val" not in node.meta:
            return f"node {node.name} ({node.target}) has no metadata"
    return None


def functional(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """No call changes its arguments."""
    for node in exported.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
            return f"node {node.name} ({node.target}) changes its arguments"
    return None


def no_dead_calls(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """Every pure call has a reader."""
    for node in calls(exported):
        if not node.users and is_pure(node):
            return f"nothing reads node {node.name} ({node.target})"
    return None
