"""Comparisons with NaN and infinities, logic, masks and selection."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import (
    BF16,
    BOOL,
    F16,
    I32,
    I64,
    INF,
    NAN,
    across,
    down,
    scalar,
    whole,
)

COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")

CASES = [
    *(Case(f"aten.{c}.Tensor", call(down(), across()), name="special") for c in COMPARISONS),
    *(Case(f"aten.{c}.Tensor", call(down(F16), across(F16)), name="half") for c in COMPARISONS),
    *(Case(f"aten.{c}.Tensor", call(whole(), whole(I32)), name="integers") for c in COMPARISONS),
    *(Case(f"aten.{c}.Tensor", call(whole(I32), x("n", 1)), name="mixed") for c in COMPARISONS),
    *(Case(f"aten.{c}.Tensor", call(whole(BOOL), whole(BOOL)), name="bool") for c in COMPARISONS),
    *(Case(f"aten.{c}.Scalar", call(down(), 1)) for c in COMPARISONS),
    *(Case(f"aten.{c}.Scalar", call(whole(), 2.5), name="fraction") for c in COMPARISONS),
    *(Case(f"aten.{c}.Scalar", call(x("n", 3), NAN), name="NaN") for c in ("eq", "ne", "le")),
    Case("aten.eq.Scalar", call(whole(BOOL), True), name="bool"),
    Case("aten.lt.Scalar", call(lambda n: torch.arange(9).repeat(n, 1), i("n")), name="size"),
    Case("aten.ge.Tensor", call(scalar(2.0), scalar(3, I64)), name="0-d"),
    Case("aten.eq.Tensor", call(x("n", 0), x("n", 1)), name="empty"),
    Case("aten.ne.Tensor", call(down(BF16), across(BF16)), name="bfloat16"),
    Case("aten.isclose.default", call(down(), across())),
    Case("aten.isclose.default", call(down(), across(), equal_nan=True), name="NaN"),
    Case("aten.isclose.default", call(down(), across(), 0.0, 0.0), name="exact"),
    Case("aten.isclose.default", call(x("n", 9), x("n", 9), 0.5, 1.0), name="loose"),
    Case("aten.isclose.default", call(whole(), whole(), 0.5, 1.0), name="int64"),
    *(Case(f"aten.logical_{f}.default", call(down(), across())) for f in ("and", "or", "xor")),
    *(
        Case(f"aten.logical_{f}.default", call(whole(), whole(BOOL)), name="mixed")
        for f in ("and", "or", "xor")
    ),
    Case("aten.where.self", call(whole(BOOL), x("n", 7), x("n", 1))),
    Case("aten.where.self", call(whole(BOOL), whole(), scalar(0.5)), name="promoted"),
    Case("aten.where.self", call(whole(BOOL), whole(BOOL), whole(BOOL)), name="bool"),
    Case(
        "aten.where.self", call(x("n", 1, 3, dtype=BOOL), x(4, 1), x("n", 1, 1)), name="broadcast"
    ),
    Case("aten.where.self", call(lambda n: torch.tensor(True), x("n"), scalar(NAN)), name="0-d"),
    Case("aten.where.ScalarOther", call(whole(BOOL), x("n", 7), -INF)),
    Case("aten.where.ScalarOther", call(whole(BOOL), whole(I32), 2), name="int32"),
    Case("aten.where.ScalarSelf", call(whole(BOOL), 0.0, x("n", 7, dtype=F16)), name="half"),
    Case("aten.where.Scalar", call(whole(BOOL), 1.0, 0)),
    Case("aten.where.Scalar", call(whole(BOOL), 1, 0), name="int"),
    Case("aten.masked_fill.Scalar", call(x("n", 7), whole(BOOL), -INF)),
    Case("aten.masked_fill.Scalar", call(x("n", 7, dtype=F16), whole(BOOL), -1e4), name="half"),
    Case("aten.masked_fill.Scalar", call(whole(), x(1, 7, dtype=BOOL), 5), name="int64"),
    Case("aten.masked_fill.Scalar", call(whole(BOOL), whole(BOOL), True), name="bool"),
    Case("aten.masked_fill.Tensor", call(x("n", 7), whole(BOOL), scalar(3, I64))),
    Case("aten.isin.Tensor_Tensor", call(whole(), whole())),
    Case("aten.isin.Tensor_Tensor", call(x("n", 1), x(2, 3), invert=True), name="invert"),
    Case("aten.isin.Tensor_Scalar", call(whole(), 3, invert=True)),
]


@parametrize(CASES)
def test_logical(case: Case) -> None:
    run(case)
