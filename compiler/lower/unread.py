"""Results that nobody reads are not asked for, where an operator has a flag for them.

Singular vectors stay in torch, singular values do not: which are wanted decides.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.lower.passes import Options, Pass
from compiler.lower.writer import Writer

aten = torch.ops.aten

FLAGS: dict[Any, tuple[str, int, frozenset[int]]] = {
    aten._linalg_svd.default: ("compute_uv", 2, frozenset({0, 2})),
    aten._linalg_eigh.default: ("compute_v", 2, frozenset({1})),
}
"""Operator to the flag that asks for some results, its place (the last) among the positional arguments,
and which results."""


def _drop(exported: ExportedProgram, _: Options) -> ExportedProgram:
    for node in list(exported.graph.nodes):
        if node.target not in FLAGS:
            continue
        name, place, results = FLAGS[node.target]
        if any(
            user.target is not operator.getitem or user.args[1] in results for user in node.users
        ):
            continue
        keywords = {**node.kwargs, name: False}
        made = Writer(exported, node).call(node.target, *node.args[:place], **keywords)
        node.replace_all_uses_with(made)
    return exported


DROP_UNREAD = Pass(
    name="drop_unread",
    requires="functional calls without dead ones",
    ensures="no singular or eigenvectors are computed where only the values are read",
    run=_drop,
)
