"""Extremes with positions, k-th smallest and medians: ties, NaN, every axis."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.ops.test_order import lone, shuffled, special, ties
from tests.compiler.convert.values import BF16, BOOL, NAN, whole

CASES = [
    *(
        Case(f"aten.{f}.dim", call(*args), name=name)
        for f in ("max", "min")
        for name, args in (
            ("last", (shuffled("n", 5), -1)),
            ("first", (shuffled("n", 5), 0, True)),
            ("middle", (shuffled("n", 3, 5), 1)),
            ("special", (ties, -1)),
            ("ties", (lambda n: torch.tensor([1, 2, 2, 1, 2]).repeat(n, 1), 1)),
            ("half", (shuffled("n", 5, dtype=BF16), 1)),
            ("bool", (whole(BOOL), 1)),
            ("0-d", (lone, 0)),
            ("rank 5", (shuffled("n", 2, 1, 2, 3), 0)),
        )
    ),
    *(
        Case(f"aten.{f}.default", call(*args), name=name)
        for f in ("argmax", "argmin")
        for name, args in (
            ("all", (shuffled("n", 3, 5),)),
            ("all keep", (shuffled("n", 3), None, True)),
            ("dim", (shuffled("n", 3, 5), 1)),
            ("dim keep", (shuffled("n", 3, 5), -1, True)),
            ("special", (ties, -1)),
            ("int64", (shuffled("n", 4, dtype=torch.int64), 0)),
            ("0-d", (lone,)),
        )
    ),
    Case("aten.kthvalue.default", call(shuffled("n", 6), 2)),
    Case("aten.kthvalue.default", call(shuffled("n", 6), 3, 1, True), name="keep"),
    Case("aten.kthvalue.default", call(shuffled("n", 6), i("n"), 1), name="dynamic k"),
    Case("aten.kthvalue.default", call(lone, 1), name="0-d"),
    Case("aten.median.dim", call(shuffled("n", 6), 1)),
    Case("aten.median.dim", call(shuffled("n", 5), 0, True), name="dynamic"),
    Case("aten.median.dim", call(lambda n: ties(n)[:, 1:2], -1), name="NaN"),
    Case("aten.median.dim", call(shuffled("n", 5, dtype=torch.int64), -1), name="int64"),
    Case("aten.median.default", call(shuffled("n", 5))),
    Case("aten.median.default", call(ties), name="NaN"),
    *[Case(f"aten.{op}.default", call(x(0, 3)), static=True, name="of nothing", refused=("argument", "got none"))
      for op in ("median", "nanmedian")],
    Case("aten.nanmedian.dim", call(special, -1)),
    Case("aten.nanmedian.dim", call(shuffled("n", 6), 0, True), name="dynamic"),
    Case("aten.nanmedian.dim", call(lambda n: torch.full((n, 1), NAN), 1), name="no number"),
    Case("aten.nanmedian.default", call(special)),
    Case("aten.nanmedian.default", call(whole()), name="int64"),
]  # fmt: skip


@parametrize(CASES)
def test_order(case: Case) -> None:
    run(case)
