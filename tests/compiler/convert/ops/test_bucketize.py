"""Numbers between sorted edges: on an edge, NaN, rows of edges."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.ops.test_order import ties
from tests.compiler.convert.values import scalar, whole

CASES = [
    *(
        Case("aten.bucketize.Tensor", call(make, edges, right=right), name=f"{name} {right}")
        for right in (False, True)
        for name, make, edges in (
            ("float", ties, lambda n: torch.tensor([-1.0, 1.0, 2.0, 3.0, 7.0])),
            ("int64", whole(), lambda n: torch.tensor([-4, 0, 0, 5])),
        )
    ),
    Case("aten.bucketize.Tensor", call(x("n"), lambda n: torch.tensor([0, 2]), out_int32=True), name="int32"),
    Case("aten.bucketize.Scalar", call(2.5, lambda n: torch.arange(5.0)), static=True),
    Case("aten.searchsorted.Tensor", call(lambda n: torch.arange(5.0), x("n", 3))),
    Case("aten.searchsorted.Tensor", call(lambda n: torch.arange(5.0).repeat(n, 1), x("n", 3), side="right"),
         name="rows"),
    Case("aten.searchsorted.Tensor", call(lambda n: torch.arange(3.0), scalar(1.0)), name="0-d"),
    Case("aten.searchsorted.Scalar", call(lambda n: torch.arange(n), 1.5)),
    Case("aten.searchsorted.Tensor",
         call(lambda n: torch.tensor([[3.0, 1.0, 2.0]]).repeat(n, 1), x("n", 4),
              sorter=lambda n: torch.tensor([[1, 2, 0]]).repeat(n, 1)), name="sorter"),
]  # fmt: skip


@parametrize(CASES)
def test_order(case: Case) -> None:
    run(case)
