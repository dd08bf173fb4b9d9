"""Every table of converter cases, by family."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.compiler.convert.harness import Case

HERE = Path(__file__).parent
WITHOUT_TABLES = {"test_core_aten", "test_library", "test_short_sums"}
"""Test files that have no cases of their own."""
FAMILY = {
    "batch_norm": "normalize", "bessel": "special", "bucketize": "order", "concat": "split",
    "error_function": "special", "extremes": "binary", "gamma": "special", "group_norm": "normalize",
    "index_add": "scatter", "index_put": "scatter", "layer_norm": "normalize", "mode": "histogram",
    "norm": "reduce", "order_statistics": "order", "power": "binary", "ranges": "creation",
    "slice_scatter": "scatter", "softmax": "normalize", "statistics": "reduce",
    "triangles": "creation",
}  # fmt: skip
"""Test files whose cases belong to another family. Recorded GPU results name families, so these
names stay when a file is split."""


def families() -> dict[str, list[Case]]:
    """The cases of each family: those of `ops/test_reduce.py` belong to `reduce`."""
    tables: dict[str, list[Case]] = {}
    for path in sorted(HERE.rglob("test_*.py"), key=lambda path: path.stem):
        if path.stem not in WITHOUT_TABLES:
            name = ".".join(path.relative_to(HERE).with_suffix("").parts)
            found = vars(importlib.import_module(f"tests.compiler.convert.{name}")).values()
            rows = [row for value in found if isinstance(value, list) for row in value]
            stem = path.stem.removeprefix("test_")
            cases = tables.setdefault(FAMILY.get(stem, stem), [])
            cases += [row for row in rows if isinstance(row, Case)]
    return tables
