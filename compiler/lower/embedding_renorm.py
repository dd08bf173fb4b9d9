"""`embedding(..., max_norm=...)`: torch first shortens, in place, the rows of the table that it is about to read.

as_values(exported) -> ExportedProgram      the shortened rows of a weight are a value, not a write
rules() -> {operator: function}             for the decomposition table
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.lower.graphs import calls, copied, weight_nodes

aten = torch.ops.aten

TINY = 1e-7
"""What torch adds to a norm before it divides by it."""
LOOKUPS = frozenset({
    aten.embedding.default, aten.embedding_bag.default, aten.embedding_bag.padding_idx,
})  # fmt: skip
"""Operators of (table, indices, ...)."""


def as_values(exported: ExportedProgram) -> ExportedProgram:
    """A copy in which weights that only such lookups read stay as they are, and each lookup reads a table whose
    rows are all short, a constant; the program itself if there is none.

    A lookup shortens the rows that it reads, whether an earlier one did or not, so its results are the same in
    every call. A table that anything else reads keeps state, and is refused as such.
    """
    if not any(node.target is aten.embedding_renorm_.default for node in calls(exported)):
        return exported
    program = copied(exported)
    for table in weight_nodes(program):
        _rewrite(table)
    program.graph_module.recompile()
    return program


def _rewrite(table: torch.fx.Node) -> None:
    lookups = [user for user in table.users if _looks_up(user, table)]
    aliases = [user for user in table.users if user.target is aten.detach.default]
    writes = [user for alias in aliases for user in alias.users if _shortens(user)]
    users = {*table.users, *(user for alias in aliases for user in alias.users)}
    if users - {*lookups, *aliases, *writes} or len({write.args[2:] for write in writes}) != 1:
        return
    order = {node: place for place, node in enumerate(table.graph.nodes)}
    first: dict[Any, int] = {}
    for write in writes:
        first.setdefault(write.args[1], order[write])
    if any(first.get(lookup.args[1], order[lookup]) >= order[lookup] for lookup in lookups):
        return  # it reads rows that a later call finds shortened
    for lookup in lookups:
        with table.graph.inserting_before(lookup):
            value = table.graph.call_function(shortened, (table, *writes[0].args[2:]))
        value.meta = dict(lookup.meta) | {"val": table.meta["val"]}
        lookup.update_arg(0, value)
    for node in (*writes, *aliases):
        table.graph.erase_node(node)


def _looks_up(node: torch.fx.Node, table: torch.fx.Node) -> bool:
    return node.target in LOOKUPS and node.args[0] is table and node.args.count(table) == 1


def _shortens(node: torch.fx.Node) -> bool:
    return node.target is aten.embedding_renorm_.default and not node.users


def rules() -> dict[Any, Callable[..., Any]]:
    return {aten.embedding_renorm.default: renormed}


def renormed(
    self: torch.Tensor, indices: torch.Tensor, max_norm: float, norm_type: float
) -> torch.Tensor:
    """The table [rows, d]; each row that an index reads and whose norm is above `max_norm` is scaled to it."""
    unread = torch.zeros_like(self[:, :1], dtype=torch.bool)
    read = unread.index_fill(0, indices.reshape(-1), True)
    return torch.where(read, shortened(self, max_norm, norm_type), self)


def shortened(table: torch.Tensor, max_norm: float, norm_type: float) -> torch.Tensor:
    """The table [rows, d], with every row whose norm is above `max_norm` scaled to it."""
    norm = torch.linalg.vector_norm(table, norm_type, 1, True)
    scale = torch.where(norm > max_norm, max_norm / (norm + TINY), 1.0)
    return table * scale.to(table.dtype)
