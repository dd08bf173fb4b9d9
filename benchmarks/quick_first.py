"""A pytest plugin for `benchmarks.mutants`: the tests that took the least time come first.

mutmut stops at the first test that fails. Its fork server hands the tests over in no order; which of them run
for a mutant, and whether one fails, is the same in any.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

STATS = Path("mutmut-stats.json")
"""What mutmut measured without a mutant. It runs tests in the folder where this is."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if STATS.exists():
        seconds = json.loads(STATS.read_text())["duration_by_test"]
        items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))
