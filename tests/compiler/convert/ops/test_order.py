"""Top-k and sorting: ties, NaN, every axis, dynamic k, the limit of 3840."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import BOOL, F16, I32, INF, NAN, whole


def lone(n: int) -> torch.Tensor:
    return torch.tensor(2.5)


def ties(n: int) -> torch.Tensor:
    """[n, 3, 7]: equal elements, infinities and NaN (at most one per row where positions are compared)."""
    table = [[1, 3, 3, 2, 5, 5, 0], [2, NAN, 9, -9, 1, 1, 1], [-INF, -INF, 0, 7, 1, 7, -INF]]
    return torch.tensor(table).repeat(n, 1, 1)


def special(n: int) -> torch.Tensor:
    """All different: torch does not define the order of equal elements."""
    return torch.tensor([[3, NAN, -INF, 2, 0], [1, INF, 7, -2, 5]]).repeat(n, 1, 1)


def shuffled(*sizes: int | str, dtype: torch.dtype = torch.float32):  # type: ignore[no-untyped-def]
    """All different, so that positions are unambiguous."""

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
    Case("aten.sort.default", call(x("n", 0)), name="none"),
]  # fmt: skip


@parametrize(CASES)
def test_order(case: Case) -> None:
    run(case)
