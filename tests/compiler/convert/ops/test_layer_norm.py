"""Layer norm and root-mean-square norm against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run

half, bf16, ints, f32 = torch.float16, torch.bfloat16, torch.int64, torch.float32

ROUGH = {"atol": 2e-2, "rtol": 2e-3}

CASES = [
    Case("aten.layer_norm.default", call(x("n", 3, 4), [4], x(4), x(4)), weights=(1, 2)),
    Case("aten.layer_norm.default", call(x("n", 3, 4), [3, 4], x(3, 4), x(3, 4), 0.1), name="two"),
    Case("aten.layer_norm.default", call(x("n", 3, 4), [4]), name="plain"),
    Case("aten.layer_norm.default", call(x("n", 3, 4), [4], None, x(4)), name="bias-only"),
    Case("aten.layer_norm.default", call(x("n", 4, dtype=half), [4], x(4, dtype=half)), **ROUGH, name="half"),
    Case("aten.layer_norm.default", call(x(3, "n"), [i("n")], x("n"), x("n")), name="dynamic"),
    Case("aten.native_layer_norm.default", call(x("n", 3, 4), [4], x(4), x(4), 1e-5)),
    Case("aten.native_layer_norm.default", call(x("n", 3, 4), [3, 4], None, None, 1e-5), name="plain"),
    Case("aten.native_layer_norm.default", call(x("n", 4, dtype=half), [4], x(4, dtype=half), None, 1e-5),
         **ROUGH, name="half"),
    Case("aten.rms_norm.default", call(x("n", 3, 4), [4], x(4))),
    Case("aten.rms_norm.default", call(x("n", 3, 4), [3, 4], None, 1e-3), name="two"),
    Case("aten.rms_norm.default", call(x("n", 4, dtype=half), [4], x(4, dtype=half)), **ROUGH, name="half"),
    Case("aten._fused_rms_norm.default", call(x("n", 3, 4), [4], x(4), None)),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
