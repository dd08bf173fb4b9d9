"""Slices written or reduced at positions along one dim, against eager torch."""

from __future__ import annotations

from tests.compiler.convert.calls import below, call, distinct, x
from tests.compiler.convert.harness import Case, parametrize, run

CASES = [
    Case("aten.index_copy.default", call(x("n", 7), 1, distinct(7, 3), x("n", 3))),
    Case("aten.index_copy.default", call(x("2n", 2), 0, distinct("2n", "n"), x("n", 2)), name="dynamic"),
    Case("aten.index_fill.int_Scalar", call(x("n", 7), 1, below(7, 3, low=-7), 2.5)),
    Case("aten.index_fill.int_Scalar", call(x("n", 7), 0, below(2), 1), name="0d-index"),
    Case("aten.index_fill.int_Tensor", call(x("n", 7), -1, below(7, 3), x())),
    Case("aten.index_add.default", call(x("n", 5), 1, below(5, 7), x("n", 7), alpha=0.5), rtol=1e-4),
    Case("aten.index_add.default", call(x("n", 5), 0, below("n", "2n"), x("2n", 5)), name="dynamic", rtol=1e-4),
    Case("aten.index_reduce.default", call(x("n", 5), 1, below(5, 7), x("n", 7), "amax")),
    Case("aten.index_reduce.default", call(x("n", 5), 1, below(5, 7), x("n", 7), "mean", include_self=False),
         name="mean"),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
