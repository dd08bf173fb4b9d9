"""The larger or smaller of two numbers, and clamping, with NaN and infinities."""

from __future__ import annotations

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import (
    BF16,
    BRAIN,
    F16,
    I32,
    I64,
    NAN,
    across,
    down,
    scalar,
    whole,
)

CASES = [
    Case("aten.clamp.default", call(down(), -1, 2.5)),
    Case("aten.clamp.default", call(down(), min=-1), name="min"),
    Case("aten.clamp.default", call(down(), max=1), name="max"),
    Case("aten.clamp.default", call(down(), 3, 1), name="crossed"),
    Case("aten.clamp.default", call(down(), NAN, 1), name="NaN bound"),
    Case("aten.clamp.default", call(down(F16), -1, 1), name="half"),
    Case("aten.clamp.default", call(whole(), -3, 4), name="int64"),
    Case("aten.clamp.default", call(whole(), -3.5, 4), name="int64 and float"),
    Case("aten.clamp.default", call(x("n", 3), max=i("n")), name="size"),
    Case("aten.clamp.Tensor", call(down(), across(), scalar(2.0)), name="special"),
    Case("aten.clamp.Tensor", call(whole(I32), max=whole(I64)), name="int"),
    Case("aten.clamp_min.default", call(down(), 0)),
    Case("aten.clamp_min.Tensor", call(down(), across())),
    Case("aten.clamp_max.default", call(whole(), 2)),
    Case("aten.clamp_max.Tensor", call(down(), across())),
    Case("aten.max.other", call(down(), across())),
    Case("aten.min.other", call(down(BF16), across(BF16)), **BRAIN, name="bfloat16"),
]


@parametrize(CASES)
def test_binary(case: Case) -> None:
    run(case)
