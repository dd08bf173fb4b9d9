"""Group norm against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run

half, bf16, ints, f32 = torch.float16, torch.bfloat16, torch.int64, torch.float32

ROUGH = {"atol": 2e-2, "rtol": 2e-3}

CASES = [
    Case("aten.group_norm.default", call(x("n", 6, 3, 4), 3, x(6), x(6)), weights=(1, 2)),
    Case("aten.group_norm.default", call(x("n", 6, "n"), 2, x(6), None, 0.1), name="1d"),
    Case("aten.group_norm.default", call(x("n", 6), 2), name="no-space"),
    Case("aten.group_norm.default", call(x("n", 6, 2, 2, 2), 6), name="3d"),
    Case("aten.group_norm.default", call(x("n", 6, 4, dtype=half), 2, x(6, dtype=half)), **ROUGH, name="half"),
    Case("aten.native_group_norm.default", call(x("n", 6, 4), x(6), x(6), i("n"), 6, 4, 3, 1e-5)),
    Case("aten.native_group_norm.default", call(x("n", 6, 2, 2), None, None, i("n"), 6, 4, 3, 1e-5), name="plain"),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
