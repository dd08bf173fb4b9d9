"""Variances and standard deviations: every form of dim and correction."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.ops.test_reduce import LONE
from tests.compiler.convert.values import F16, HALF

D3 = x("n", 3, 4)

STATISTICS = ("var", "std", "var_mean", "std_mean")

CASES = [
    *(
        Case(f"aten.{f}.correction", call(D3, dim, correction=c, keepdim=k), name=f"{dim} {c} {k}")
        for f in STATISTICS
        for dim, c, k in (([1], 1, False), ([0, -1], 0, True), (None, None, False), ([1, 2], 2.5, False))
    ),
    *(Case(f"aten.{f}.dim", call(D3, [1], False, True)) for f in STATISTICS),
    *(Case(f"aten.{f}.default", call(D3, True)) for f in STATISTICS),
    *(Case(f"aten.{f}.correction", call(x("n", 9, dtype=F16), [1]), **HALF, name="half") for f in STATISTICS),
    Case("aten.var.correction", call(x("n", 1), [1]), name="too few"),
    Case("aten.var.correction", call(LONE, None, correction=0), name="0-d"),
    Case("aten.var.correction", call(lambda n: torch.randn(n, 50) + 1e3, [0]), rtol=1e-3, name="far from 0"),
]  # fmt: skip


@parametrize(CASES)
def test_reduce(case: Case) -> None:
    run(case)
