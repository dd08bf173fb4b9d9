"""Operators that libraries register themselves, replaced by the equivalent ATen operators.

No runtime of a bundle can call a library's own operator, and no decomposition exists for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.lower.conditions import functional
from compiler.lower.graphs import calls
from compiler.lower.passes import LowerOptions, Pass

_SPELLINGS: dict[str, Callable[..., tuple[Any, tuple[Any, ...]]]] = {
    # For dtypes that aten._grouped_mm lacks under torch.compile; transformers' mixtures of experts.
    "transformers.grouped_mm_fallback.default": lambda rows, weight, offs: (
        torch.ops.aten._grouped_mm.default, (rows, weight, offs)
    ),
}  # fmt: skip


def _spell_as_aten(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
    for node in exported.graph.nodes:
        spelled = _SPELLINGS.get(str(node.target))
        if spelled is not None:
            node.target, node.args = spelled(*node.args, **node.kwargs)
            node.kwargs = {}
    return exported


def no_library_operators(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """No call is to a library's operator that has an ATen equivalent."""
    for node in calls(exported):
        if str(node.target) in _SPELLINGS:
            return f"node {node.name} calls {node.target}"
    return None


SPELL_AS_ATEN = Pass(
    name="spell_as_aten",
    requires=(functional,),
    ensures=(no_library_operators,),
    run=_spell_as_aten,
)
