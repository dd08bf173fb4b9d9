"""Warnings about what of a model runs in torch, and why."""

from __future__ import annotations

import warnings

from compiler.partition import PartitionReport


class KilnWarning(UserWarning):
    """Part of a model runs in torch; the message says why."""


def told(report: PartitionReport) -> list[tuple[str, str, str]]:
    """(code, message, remedy) for what a report has to tell the user, at most one entry."""
    work = [g for g in report.groups if g.reason.code not in ("too_small", "constant")]
    work = [g for g in work if any(kept.compute for kept in g.kept)]
    if not work:
        return []
    lines = []
    for group in work:
        first = group.kept[0]
        count = f" and {len(group.kept) - 1} more" if len(group.kept) > 1 else ""
        lines.append(
            f"{first.node} ({first.op}){count} at {first.origin}: "
            f"{group.reason.code}: {group.reason.detail}"
            + (f"; {group.reason.remedy}" if group.reason.remedy else "")
        )
    total = report.engine_nodes + report.torch_nodes
    return [("torch", f"{report.torch_nodes} of {total} nodes:\n  " + "\n  ".join(lines), "")]


def fall_back(place: str, code: str, message: str, remedy: str) -> None:
    """Warn that a graph, or some of it, runs in torch."""
    text = f"kiln: in the graph{place}, torch runs "
    text += message if code == "torch" else f"everything: {message} [{code}]"
    if remedy:
        text += f"\nRemedy: {remedy}"
    warnings.warn(text, KilnWarning, stacklevel=3)
