"""Order: ties, NaN, every axis, dynamic k, the limit of 3840."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.ops.test_binary import BF16, BOOL, F16, I32, INF, NAN, scalar, whole


def lone(n: int) -> torch.Tensor:
    return torch.tensor(2.5)


def ties(n: int) -> torch.Tensor:
    """[n, 3, 7]: equal ones, infinities, NaN (once a row where positions are compared)."""
    table = [[1, 3, 3, 2, 5, 5, 0], [2, NAN, 9, -9, 1, 1, 1], [-INF, -INF, 0, 7, 1, 7, -INF]]
    return torch.tensor(table).repeat(n, 1, 1)


def special(n: int) -> torch.Tensor:
    """All different: torch leaves the order of equals open."""
    return torch.tensor([[3, NAN, -INF, 2, 0], [1, INF, 7, -2, 5]]).repeat(n, 1, 1)


def shuffled(*sizes: int | str, dtype: torch.dtype = torch.float32):  # type: ignore[no-untyped-def]
    """All different, so that positions are decided."""

    def make(n: int) -> torch.Tensor:
        shape = [n if s == "n" else s for s in sizes]
        total = torch.Size(shape).numel()
        return (torch.randperm(total) - total // 2).reshape(shape).to(dtype)

    return make


CASES = [
    Case("aten.topk.default", call(shuffled("n", 6), 3)),
    Case("aten.topk.default", call(shuffled("n", 6), 2, -1, False), name="smallest"),
    Case("aten.topk.default", call(shuffled(6, "n"), 2, 0, True, True), name="axis 0"),
    Case("aten.topk.default", call(shuffled("n", 6), i("n"), 1), name="dynamic k"),
    Case("aten.topk.default", call(shuffled("n"), 1), name="1-d"),
    Case("aten.topk.default", call(shuffled("n", 2, 1, 2, 3), 2, 0), name="rank 5"),
    Case("aten.topk.default", call(special, 5), name="special"),
    Case("aten.topk.default", call(special, 4, -1, False), name="special smallest"),
    Case("aten.topk.default", call(shuffled("n", 6, dtype=F16), 2), name="half"),
    Case("aten.topk.default", call(shuffled("n", 6, dtype=torch.int64), 2), name="int64"),
    Case("aten.topk.default", call(shuffled("n", 6, dtype=I32), 2), name="int32"),
    Case("aten.topk.default", call(lone, 1, 0), name="0-d"),
    Case("aten.topk.default", call(x(5000), 4000), static=True, refused=("argument", "3840"),
         name="too many"),
    *(
        Case(f"aten.{f}", call(shuffled("n", 3, 5), *args), name=f"{args}")
        for f in ("sort.default", "argsort.default")
        for args in ((), (1,), (-1, True), (0, True))
    ),
    Case("aten.sort.default", call(shuffled(2, "n")), name="dynamic"),
    Case("aten.sort.default", call(lone), name="0-d"),
    Case("aten.sort.default", call(x(5000)), static=True, refused=("argument", "3840"), name="long"),
    Case("aten.sort.stable", call(ties, stable=True)),
    Case("aten.sort.stable", call(ties, stable=True, dim=-1, descending=True), name="descending"),
    Case("aten.sort.stable", call(whole(BOOL), stable=True, dim=0), name="bool"),
    Case("aten.argsort.stable", call(ties, stable=True, dim=1)),
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
    Case("aten.nanmedian.dim", call(special, -1)),
    Case("aten.nanmedian.dim", call(shuffled("n", 6), 0, True), name="dynamic"),
    Case("aten.nanmedian.dim", call(lambda n: torch.full((n, 1), NAN), 1), name="no number"),
    Case("aten.nanmedian.default", call(special)),
    Case("aten.nanmedian.default", call(whole()), name="int64"),
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
    Case("aten.sort.default", call(x("n", 0)), name="none"),
    Case("aten.searchsorted.Tensor",
         call(lambda n: torch.tensor([[3.0, 1.0, 2.0]]).repeat(n, 1), x("n", 4),
              sorter=lambda n: torch.tensor([[1, 2, 0]]).repeat(n, 1)), name="sorter"),
]  # fmt: skip


@parametrize(CASES)
def test_order(case: Case) -> None:
    run(case)
