"""Turns off results that nothing reads, where an operator has a flag for them.

An engine can compute singular values but not singular vectors: a call that asks for both stays in torch.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.lower.conditions import functional, no_dead_calls
from compiler.lower.graphs import calls
from compiler.lower.passes import LowerOptions, Pass
from compiler.lower.writer import Writer

aten = torch.ops.aten

FLAGS: dict[Any, tuple[str, int, frozenset[int]]] = {
    aten._linalg_svd.default: ("compute_uv", 2, frozenset({0, 2})),
    aten._linalg_eigh.default: ("compute_v", 2, frozenset({1})),
}
"""For each operator, the flag that asks for some of its results, the flag's place (the last) among the
positional arguments, and those results' indices."""


def _drop(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
    for node in calls(exported):
        if node.target in FLAGS and not _is_read(node):
            name, place, _results = FLAGS[node.target]
            keywords = {**node.kwargs, name: False}
            made = Writer(exported, node).call(node.target, *node.args[:place], **keywords)
            node.replace_all_uses_with(made)
    return exported


def _is_read(node: torch.fx.Node) -> bool:
    """Whether something reads one of the results that the flag asks for."""
    results = FLAGS[node.target][2]
    return any(
        user.target is not operator.getitem or user.args[1] in results for user in node.users
    )


def no_unread_vectors(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """No singular vectors or eigenvectors are computed where only the values are read."""
    for node in calls(exported):
        if node.target not in FLAGS or _is_read(node):
            continue
        name, place, _results = FLAGS[node.target]
        asked = node.args[place] if len(node.args) > place else node.kwargs.get(name, True)
        if asked is not False:
            return f"node {node.name} ({node.target}) has {name}={asked}, and nothing reads them"
    return None


DROP_UNREAD = Pass(
    name="drop_unread",
    requires=(functional, no_dead_calls),
    ensures=(no_unread_vectors,),
    run=_drop,
)
