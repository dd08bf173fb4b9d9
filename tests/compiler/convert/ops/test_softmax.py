"""Softmax and its logarithm against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import MakeTensor

half, bf16, ints, f32 = torch.float16, torch.bfloat16, torch.int64, torch.float32

ROUGH = {"atol": 2e-2, "rtol": 2e-3}


def special(value: float) -> MakeTensor:
    def make(n: int) -> torch.Tensor:
        result = torch.randn(n, 4)
        result[0, 1] = value
        return result

    return make


CASES = [
    Case("aten.softmax.int", call(x("n", 3, 4), -1)),
    Case("aten.softmax.int", call(x("n", 3, 4), 0), name="first"),
    Case("aten.softmax.int", call(x("n", 4, dtype=ints), 1, f32), name="int"),
    Case("aten.softmax.int", call(x("n", 4, dtype=half), 1, f32), name="half-to-float"),
    Case("aten.softmax.int", call(x("n", 4, dtype=bf16), 1), **ROUGH, name="bf16"),
    Case("aten.softmax.int", call(x("n"), 0), name="1d"),
    Case("aten.softmax.int", call(x(), 0), static=True, name="0d"),
    Case("aten._softmax.default", call(x("n", 3), 1, False)),
    Case("aten._softmax.default", call(special(float("-inf")), 1, False), name="inf"),
    Case("aten._softmax.default", call(special(float("nan")), 1, False), name="nan"),
    Case("aten.log_softmax.int", call(x("n", 3, 4), -2)),
    Case("aten.log_softmax.int", call(x("n", 3), 1, half), **ROUGH, name="dtype"),
    Case("aten.log_softmax.int", call(x(), -1), static=True, name="0d"),
    Case("aten._log_softmax.default", call(special(float("-inf")), 1, False)),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
