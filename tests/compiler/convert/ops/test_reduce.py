"""Reductions: every form of dim, types, NaN, empty and 0-dimensional tensors."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import (
    BF16,
    BOOL,
    BRAIN,
    F16,
    HALF,
    I32,
    I64,
    INF,
    NAN,
    large,
    whole,
)  # fmt: skip

D3 = x("n", 3, 4)

LONE = lambda n: torch.tensor(2.5)  # noqa: E731


def rows(dtype: torch.dtype = torch.float32):  # type: ignore[no-untyped-def]
    """[n, 5, 3]: NaN first, in the middle and last, infinities, plain numbers."""
    table = [[NAN, 1, 2], [1, NAN, -2], [INF, 2, NAN], [-INF, INF, 0], [-1, 3, 2]]
    return lambda n: torch.tensor(table).repeat(n, 1, 1).to(dtype)


DIMS = ("sum.dim_IntList", "mean.dim", "amax.default", "amin.default", "nansum.default")

CASES = [
    *(
        Case(f"aten.{f}", call(D3, dim, keep), name=f"{dim} {keep}", build=not keep)
        for f in DIMS
        for dim in ([1], [-1], [0, 2], [-1, 0], [])
        for keep in (False, True)
    ),
    *(Case(f"aten.{f}", call(LONE, [0]), name="0-d") for f in DIMS),
    *(Case(f"aten.{f}", call(LONE, []), name="0-d all") for f in DIMS),
    *(Case(f"aten.{f}", call(rows(), [-1]), name="special") for f in DIMS),
    *(Case(f"aten.{f}", call(x("n", 3, 4, dtype=F16), [1]), **HALF, name="half") for f in DIMS),
    *(Case(f"aten.{f}", call(x("n", 9, dtype=BF16), [1]), **BRAIN, name="bfloat16") for f in DIMS),
    Case("aten.sum.dim_IntList", call(D3, None), name="None"),
    Case("aten.mean.dim", call(D3, None, True), name="None"),
    *(
        Case("aten.sum.dim_IntList", call(whole(t), [1]), name=f"{t}")
        for t in (I32, I64, BOOL)
    ),
    Case("aten.sum.dim_IntList", call(whole(I32), [0], dtype=torch.float32), name="dtype"),
    Case("aten.sum.dim_IntList", call(whole(), [0], dtype=I32), name="dtype int32"),
    *(
        Case(f"aten.{f}", call(large(t), [1]), name=f"large {t}")
        for t in (I32, I64)
        for f in ("sum.dim_IntList", "amax.default", "amin.default")
    ),
    *(Case(f"aten.{f}.dim", call(large(I32), 1), name="large int32") for f in ("max", "min")),
    Case("aten.sum.dim_IntList", call(x("n", 0), [1]), name="empty"),
    Case("aten.sum.dim_IntList", call(x("n", 0, 3), [0]), name="nothing left"),
    Case("aten.sum.default", call(D3)),
    Case("aten.sum.default", call(whole(BOOL)), name="bool"),
    Case("aten.sum.default", call(LONE), name="0-d"),
    Case("aten.sum.default", call(lambda n: torch.tensor(True)), name="0-d bool"),
    Case("aten.mean.default", call(D3)),
    Case("aten.mean.default", call(whole(), dtype=torch.float32), name="int64"),
    Case("aten.mean.dim", call(whole(), [0], dtype=F16), **HALF, name="int64"),
    Case("aten.mean.dim", call(x("n", 9, dtype=F16), [1], dtype=torch.float32), name="wide"),
    Case("aten.nansum.default", call(rows(), None), name="all"),
    Case("aten.nansum.default", call(whole(), [0]), name="int64"),
    Case("aten.sum.dim_IntList", call(whole(), [0], dtype=BOOL), name="dtype bool"),
    Case("aten.prod.dim_int", call(whole(BOOL), 0, dtype=BOOL), name="dtype bool"),
    Case("aten.prod.default", call(x("n", 3)), rtol=1e-4),
    Case("aten.prod.dim_int", call(x("n", 3), -1, True)),
    Case("aten.prod.dim_int", call(whole(I32), 0), name="int32"),
    Case("aten.prod.dim_int", call(x("n", 3), 1, dtype=torch.int64), name="dtype"),
    Case("aten.count_nonzero.default", call(whole())),
    Case("aten.count_nonzero.default", call(x("n", 3), -1), name="dim"),
    Case("aten.count_nonzero.dim_IntList", call(whole(BOOL), [0, 1])),
    *(
        Case(f"aten.{f}.default", call(make), name=name)
        for f in ("max", "min", "aminmax")
        for name, make in (
            ("float", D3), ("special", rows()), ("half", x("n", 7, dtype=F16)), ("int64", whole()),
            ("bool", whole(BOOL)), ("0-d", LONE),
        )
    ),
    *(
        Case(f"aten.{f}.default", call(whole(t), [1], True), name=f"{t}")
        for f in ("amax", "amin")
        for t in (I32, I64, BOOL)
    ),
    Case("aten.amax.default", call(rows(F16), [1]), name="half special"),
    Case("aten.aminmax.default", call(rows(), dim=-1, keepdim=True), name="dim"),
    *(
        Case(f"aten.{f}.default", call(make), name=name)
        for f in ("any", "all")
        for name, make in (("bool", whole(BOOL)), ("float", rows()), ("0-d", LONE))
    ),
    *(
        Case(f"aten.{f}.dim", call(make, -1, keep), name=f"{name} {keep}")
        for f in ("any", "all")
        for keep in (False, True)
        for name, make in (("bool", whole(BOOL)), ("float", rows()), ("int64", whole()))
    ),
    *(
        Case(f"aten.{f}.dims", call(x("n", 3, 4, dtype=BOOL), dims), name=f"{dims}")
        for f in ("any", "all")
        for dims in (None, [0, -1], [1], [])
    ),
    Case("aten.all.dim", call(lambda n: torch.ones(n, 0, dtype=BOOL), 1), name="empty"),
    Case("aten.any.dim", call(lambda n: torch.ones(n, 0, dtype=BOOL), 1), name="empty"),
    Case("aten.any.dim", call(LONE, 0), name="0-d"),
    Case("aten.logsumexp.default", call(D3, [1])),
    Case("aten.logsumexp.default", call(D3, [0, -1], True), name="keep"),
    Case("aten.logsumexp.default", call(rows(), [-1]), name="special"),
    Case("aten.logsumexp.default", call(lambda n: torch.full((n, 3), -INF), [-1]), name="-inf"),
    Case("aten.logsumexp.default", call(lambda n: torch.randn(n, 3) * 200, [-1]), name="large"),
    Case("aten.logsumexp.default", call(x("n", 9, dtype=F16), [-1]), **HALF, name="half"),
    Case("aten.logsumexp.default", call(whole(), [-1]), name="int64"),
    Case("aten.logsumexp.default", call(LONE, [0]), name="0-d"),
]  # fmt: skip


@parametrize(CASES)
def test_reduce(case: Case) -> None:
    run(case)
