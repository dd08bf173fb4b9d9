"""Positions of elements that are not zero, against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import below, call, i, x
from tests.compiler.convert.harness import Case, parametrize, run

NONZERO = "aten.nonzero_static.default"
CASES = [
    Case(NONZERO, call(x("n", 0, 2), size=3), name="empty"),
    Case(NONZERO, call(below(3, "n", 5), size=7)),
    Case(NONZERO, call(below(2, 4, "n", 3), size=50, fill_value=-9), name="filled"),
    Case(NONZERO, call(below(2, "n", dtype=torch.bool), size=i("n")), name="dynamic"),
    Case(NONZERO, call(x("n", 2), size=3), name="cut"),
    Case(NONZERO, call(x(), size=2), static=True, name="0-d"),
    Case(NONZERO, call(x("n", 2), size=0), name="none"),
    Case(NONZERO, call(x(99999), size=9999), static=True, refused=("argument", "at most")),
    Case("aten.nonzero.default", call(lambda n: torch.arange(3)), static=True, refused=("data_dependent", "NonZero")),
    Case("aten.masked_select.default", call(lambda n: torch.arange(3), lambda n: torch.arange(3) > 1), static=True,
         refused=("data_dependent", "depends on data")),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
