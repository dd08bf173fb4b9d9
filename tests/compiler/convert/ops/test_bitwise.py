"""Logic on the bits of integers and bools, and shifts."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import BOOL, I32, I64, large, scalar, whole

CASES = [
    *(
        Case(f"aten.{f}.Tensor", call(whole(BOOL), whole(BOOL)))
        for f in ("bitwise_and", "bitwise_or", "bitwise_xor", "__and__", "__or__", "__xor__")
    ),
    Case("aten.bitwise_or.Scalar", call(whole(BOOL), True)),
    Case("aten.bitwise_and.Tensor", call(whole(BOOL), scalar(True, BOOL)), name="0-d"),
    *(Case("aten.bitwise_and.Scalar", call(whole(t), 7), name=f"{t}") for t in (I32, I64)),
    Case("aten.bitwise_and.Scalar", call(whole(), 0), name="0"),
    Case("aten.bitwise_and.Scalar", call(whole(), 6), name="6"),
    Case("aten.bitwise_and.Scalar_Tensor", call(7, whole()), name="7"),
    *(
        Case(f"aten.bitwise_{f}.Tensor", call(large(a), large(b)), name=f"{a}-{b}")
        for f in ("and", "or", "xor")
        for a, b in ((I64, I64), (I32, I32), (I64, I32))
    ),
    Case("aten.bitwise_xor.Tensor", call(whole(), lambda n: torch.tensor(-1)), name="0-d"),
    Case("aten.bitwise_or.Tensor", call(whole(BOOL), whole()), name="promoted"),
    Case("aten.bitwise_xor.Scalar", call(whole(), -6), name="-6"),
]


SHIFTS = [
    *(
        Case(f"aten.bitwise_{side}_shift.Tensor_Scalar", call(whole(dtype), k), name=f"{dtype} {k}")
        for side in ("left", "right")
        for dtype in (I32, torch.int64)
        for k in (0, 1, 5, 31)
    ),
    *(
        Case(f"aten.bitwise_{side}_shift.Tensor", call(whole(), lambda n: torch.arange(7) * 9))
        for side in ("left", "right")
    ),
    Case(
        "aten.bitwise_right_shift.Tensor",
        call(whole(I32), lambda n: torch.arange(7) * 5),
        name="mixed",
    ),
    Case("aten.__lshift__.Scalar", call(whole(), 3)),
    Case("aten.__rshift__.Scalar", call(whole(), 40)),
    Case(
        "aten.bitwise_left_shift.Tensor_Scalar",
        call(whole(), 63),
        refused=("argument", "0 to 62"),
        name="too far",
    ),
]


@parametrize(CASES)
def test_logical(case: Case) -> None:
    run(case)


@parametrize(SHIFTS)
def test_functions(case: Case) -> None:
    run(case)
