"""Medians over builds, and ours beside what a user would pick instead."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.speed.rows import PRECISIONS, Key
from benchmarks.speed.subjects import SUBJECTS

Rows = Mapping[Key, Mapping[str, Any]]
MS = ("plain_ms", "graph_ms", "loader_ms", "loader_graph_ms")
WITHIN = 1.02
"""Of the ONNX path's time in a graph, what ours may take."""


def summary(rows: Rows) -> list[dict[str, Any]]:
    """For each model and precision: each path's medians, and ratios of times in a CUDA graph."""
    found = []
    for model in SUBJECTS:
        for precision in PRECISIONS:
            paths = {k.path: None for k in rows if (k.model, k.precision) == (model, precision)}
            if paths:
                line = {path: _medians(rows, model, precision, path) for path in paths}
                found.append(
                    {"model": model, "precision": precision, "paths": line} | _ratios(line)
                )
    return found


def _medians(rows: Rows, model: str, precision: str, path: str) -> dict[str, Any]:
    """Of the builds that are right; a wrong one has no time."""
    own = [
        row for k, row in rows.items() if (k.model, k.precision, k.path) == (model, precision, path)
    ]
    right = [row for row in own if row["state"] == "right"]
    made: dict[str, Any] = {"builds": len(right), "not_right": len(own) - len(right)}
    for name in (*MS, "l2", "build_seconds"):
        values = [row[name] for row in right if row.get(name) is not None]
        if values:
            made[name] = statistics.median(values)
        if name in MS and len(values) > 1:
            made[f"{name}_of_builds"] = sorted(values)
    return made


def _ratios(line: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found = {}
    for way in ("", "-dynamic"):
        own = line.get(f"ours{way}", {}).get("graph_ms")
        for other in ("onnx", "inductor"):
            theirs = line.get(f"{other}{way}", {}).get("graph_ms")
            if own and theirs:
                found[f"ours{way}/{other}{way}"] = round(own / theirs, 3)
    return found


def missed(summed: list[dict[str, Any]]) -> list[str]:
    """The comparisons that ours loses: more than 2 % behind ONNX, or behind Inductor."""
    return [
        f"{line['model']} {line['precision']} {name} {value}"
        for line in summed
        for name, value in line.items()
        if "/" in name and value > (WITHIN if "onnx" in name else 1.0)
    ]


def text(summed: list[dict[str, Any]]) -> str:
    """As a table of plain / graph (/ loader) milliseconds."""
    paths = list(dict.fromkeys(path for line in summed for path in line["paths"]))
    out = ["| | " + " | ".join(paths) + " | ratios in a graph |", "|---" * (len(paths) + 2) + "|"]
    for line in summed:
        cells = [_cell(line["paths"].get(path)) for path in paths]
        ratios = ", ".join(f"{n} {v}" for n, v in line.items() if "/" in n)
        out.append(f"| {line['model']} {line['precision']} | {' | '.join(cells)} | {ratios} |")
    return "\n".join(out)


def _cell(medians: Mapping[str, Any] | None) -> str:
    if medians is None:
        return ""
    if not medians["builds"]:
        return "not right"
    return " / ".join(f"{medians[name]:.3f}" for name in MS if name in medians)
