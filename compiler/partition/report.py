"""What the partition decided, and why each node in torch stays there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from compiler.convert.registry import Refusal
from compiler.refused import Refused
from enginebundle.format.graph import Origin

_NAMED = re.compile(r" \([A-Za-z_][\w.]*\)")

PLACES = 3
"""How many nodes the text report names for each reason."""


class PartitionRefused(Refused):
    """The requested partition can't be made.

    Codes: `unknown_module` and `unknown_op` (a pattern matches nothing), `not_fully_compiled`,
    `size_returned`.
    """


@dataclass(frozen=True, slots=True)
class Kept:
    """One node that stays in torch. `compute` is false for nodes that only relabel memory.

    A name in parentheses inside `reason.detail` belongs to this node alone; grouping ignores it.
    """

    node: str
    op: str
    compute: bool
    origin: Origin
    reason: Refusal

    @property
    def common(self) -> Refusal:
        """The reason without names of values, so that other nodes can share it."""
        return replace(self.reason, detail=_NAMED.sub("", self.reason.detail))


@dataclass(frozen=True, slots=True)
class SegmentSummary:
    """One segment in execution order; `nodes` counts operator calls, size arithmetic excluded."""

    kind: str
    nodes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """All kept nodes of one operator with one reason, in graph order."""

    op: str
    reason: Refusal
    kept: tuple[Kept, ...]


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """Totals, segments, and one entry for each node kept in torch, in graph order."""

    segments: tuple[SegmentSummary, ...]
    kept: tuple[Kept, ...]

    @property
    def engine_nodes(self) -> int:
        return sum(s.nodes for s in self.segments if s.kind == "engine")

    @property
    def torch_nodes(self) -> int:
        return sum(s.nodes for s in self.segments if s.kind == "torch_graph")

    @property
    def groups(self) -> tuple[Group, ...]:
        """Kept nodes by operator and reason, the most frequent first."""
        found: dict[tuple[str, Refusal], list[Kept]] = {}
        for kept in self.kept:
            found.setdefault((kept.op, kept.common), []).append(kept)
        groups = [Group(op, reason, tuple(kept)) for (op, reason), kept in found.items()]
        return tuple(sorted(groups, key=lambda group: -len(group.kept)))

    def to_json(self) -> dict[str, Any]:
        """The whole report as JSON values."""
        return {
            "engine_nodes": self.engine_nodes,
            "torch_nodes": self.torch_nodes,
            "segments": [
                {
                    "kind": s.kind,
                    "nodes": s.nodes,
                    "inputs": list(s.inputs),
                    "outputs": list(s.outputs),
                }
                for s in self.segments
            ],
            "reasons": [
                {
                    "op": g.op,
                    "code": g.reason.code,
                    "detail": g.reason.detail,
                    "remedy": g.reason.remedy,
                    "count": len(g.kept),
                }
                for g in self.groups
            ],
            "kept": [_kept_to_json(k) for k in self.kept],
        }

    def text(self) -> str:
        """A table for people: totals, then each reason with its count, places and remedy."""
        total = self.engine_nodes + self.torch_nodes
        engines = sum(s.kind == "engine" for s in self.segments)
        lines = [
            f"{_count(engines, 'engine segment')} with {self.engine_nodes} of "
            f"{_count(total, 'node')}, {_count(len(self.segments) - engines, 'torch segment')} "
            f"with {self.torch_nodes}"
        ]
        if self.kept:
            lines += [
                "",
                *_table([("nodes", "operator", "reason", "detail"), *map(_row, self.groups)]),
            ]
        for group in self.groups:
            lines += ["", f"{group.op}: {group.reason.code}"]
            lines += [f"  at {k.node}: {_place(k.origin)}" for k in group.kept[:PLACES]]
            if len(group.kept) > PLACES:
                lines.append(f"  and {len(group.kept) - PLACES} more")
            if group.reason.remedy:
                lines.append(f"  remedy: {group.reason.remedy}")
        return "\n".join(lines)


def _kept_to_json(kept: Kept) -> dict[str, Any]:
    o = kept.origin
    return {
        "node": kept.node,
        "op": kept.op,
        "compute": kept.compute,
        "file": o.file,
        "line": o.line,
        "source": o.source,
        "module": o.module,
        "module_class": o.module_class,
        "code": kept.reason.code,
        "detail": kept.reason.detail,
        "remedy": kept.reason.remedy,
    }


def _row(group: Group) -> tuple[str, str, str, str]:
    return str(len(group.kept)), group.op, group.reason.code, group.reason.detail


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return [line.rstrip() for line in padded]


def _place(origin: Origin) -> str:
    return f"{origin}: {origin.source.strip()}" if origin.source.strip() else str(origin)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
