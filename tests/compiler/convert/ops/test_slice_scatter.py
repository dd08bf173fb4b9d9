"""Slices, rows and diagonals replaced, against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run

half, ints, boolean = torch.float16, torch.int64, torch.bool

CASES = [
    Case("aten.slice_scatter.default", call(x("n", 7), x("n", 3), 1, 2, 5)),
    Case("aten.slice_scatter.default", call(x("n", 7), x("n", 3), 1, 1, 99, 2), name="step"),
    Case("aten.slice_scatter.default", call(x("n", 7), x("n", 7), 0), name="whole"),
    Case("aten.slice_scatter.default", call(x("2n", 3), x("n", 3), 0, i("n"), (1 << 63) - 1), name="dynamic"),
    Case("aten.select_scatter.default", call(x("n", 7), x("n"), 1, -2)),
    Case("aten.select_scatter.default", call(x("n", "n", dtype=boolean), x("n", dtype=boolean), 0, 0), name="bool"),
    *(
        Case("aten.diagonal_scatter.default", call(x(5, "n", 7), x("n", length), offset, 0, 2), name=f"{offset}")
        for offset, length in ((0, 5), (3, 4), (-2, 3))
    ),
    Case("aten.diagonal_scatter.default", call(x("n", "n"), x("n")), name="dynamic"),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
