"""Powers: whole, fractional and special ones."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import BOOL, F16, HALF, I32, across, down, positive, whole

CASES = [
    *(
        Case("aten.pow.Tensor_Scalar", call(positive(), p), name=f"{p}")
        for p in (0, 1, 2, 3, 4, 0.5, -0.5, -1, -2, 1.5)
    ),
    *(
        Case("aten.pow.Tensor_Scalar", call(down(), p), name=f"special {p}")
        for p in (0, 2, 3, 4, -1, 1.5)
    ),
    *(
        Case("aten.pow.Tensor_Scalar", call(whole(), p), name=f"int64 {p}")
        for p in (0, 1, 2, 3, 7, 10, 20)
    ),
    Case("aten.pow.Tensor_Scalar", call(whole(I32), 13), name="int32 wraps"),
    Case("aten.pow.Tensor_Scalar", call(whole(BOOL), 2), name="bool"),
    Case("aten.pow.Tensor_Scalar", call(whole(), 2.0), name="int64 to float"),
    Case("aten.pow.Tensor_Scalar", call(positive(F16), 3), **HALF, name="half"),
    Case("aten.pow.Tensor_Tensor", call(down(), across()), name="special"),
    Case("aten.pow.Tensor_Tensor", call(positive(), whole()), name="float and int"),
    Case("aten.pow.Tensor_Tensor", call(whole(), whole()), refused=("argument", "float32")),
    Case("aten.pow.Scalar", call(2, lambda n: torch.arange(n * 10).reshape(n, 10) % 40)),
    Case("aten.pow.Scalar", call(3, whole()), refused=("argument", "constant exponent"), name="3"),
    Case("aten.pow.Scalar", call(10.0, x("n", 3)), rtol=1e-4),
    Case("aten.ldexp.Tensor", call(x("n", 7), whole())),
]


@parametrize(CASES)
def test_binary(case: Case) -> None:
    run(case)
