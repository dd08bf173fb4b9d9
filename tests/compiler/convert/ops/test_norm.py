"""Vector norms: every order, NaN, half precision."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import F16, HALF, INF

D3 = x("n", 3, 4)

CASES = [
    *(
        Case("aten.linalg_vector_norm.default", call(D3, p, dim, k), name=f"{p} {dim}")
        for p in (0, 1, 2, 3, 2.5, -1, INF, -INF)
        for dim, k in (([1], True), (None, False))
    ),
    Case("aten.linalg_vector_norm.default", call(x("n", 9, dtype=F16), dtype=torch.float32), name="dtype", **HALF),
    Case("aten.linalg_vector_norm.default", call(lambda n: torch.full((n, 9), 300.0, dtype=F16), 2, [1]),
         **HALF, name="half squares overflow"),
    Case("aten.norm.ScalarOpt_dim", call(D3, None, [1])),
    *(Case("aten.dist.default", call(x("n", 5), x(5), p), rtol=1e-4, name=f"{p}") for p in (2, 1.5, 0, INF)),
    Case("aten.norm.ScalarOpt_dim", call(D3, 1, [0, 1], True), name="1"),
    Case("aten.norm.ScalarOpt_dim_dtype", call(x("n", 9, dtype=F16), 2, [1], True, dtype=torch.float32), **HALF),
    Case("aten.norm.Scalar", call(D3, 2)),
]  # fmt: skip


@parametrize(CASES)
def test_reduce(case: Case) -> None:
    run(case)
