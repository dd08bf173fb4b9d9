"""Every table of converter cases, by family: what the files of this folder hold."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.compiler.convert.harness import Case

HERE = Path(__file__).parent
WITHOUT_TABLES = {"test_core_aten"}
"""What reads the tables itself."""


def families() -> dict[str, list[Case]]:
    """The cases of each test file: `ops/test_reduce.py` is the family `reduce`."""
    tables = {}
    for path in sorted(HERE.rglob("test_*.py"), key=lambda path: path.stem):
        if path.stem not in WITHOUT_TABLES:
            name = ".".join(path.relative_to(HERE).with_suffix("").parts)
            found = vars(importlib.import_module(f"tests.compiler.convert.{name}")).values()
            rows = [row for value in found if isinstance(value, list) for row in value]
            cases = [row for row in rows if isinstance(row, Case)]
            tables[path.stem.removeprefix("test_")] = cases
    return tables
