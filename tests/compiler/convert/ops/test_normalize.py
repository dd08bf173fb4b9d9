"""Normalizations and softmax against eager torch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run

half, bf16, ints, f32 = torch.float16, torch.bfloat16, torch.int64, torch.float32
ROUGH = {"atol": 2e-2, "rtol": 2e-3}
Make = Callable[[int], torch.Tensor]


def positive(*sizes: int) -> Make:
    return lambda n: torch.rand(sizes) + 0.5


def special(value: float) -> Make:
    def make(n: int) -> torch.Tensor:
        result = torch.randn(n, 4)
        result[0, 1] = value
        return result

    return make


FUNCTIONAL = "aten._native_batch_norm_legit_functional.default"
BATCH = (None, None, x(3), positive(3))
AFFINE = (x(3), x(3), x(3), positive(3))
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
    Case("aten.group_norm.default", call(x("n", 6, 3, 4), 3, x(6), x(6)), weights=(1, 2)),
    Case("aten.group_norm.default", call(x("n", 6, "n"), 2, x(6), None, 0.1), name="1d"),
    Case("aten.group_norm.default", call(x("n", 6), 2), name="no-space"),
    Case("aten.group_norm.default", call(x("n", 6, 2, 2, 2), 6), name="3d"),
    Case("aten.group_norm.default", call(x("n", 6, 4, dtype=half), 2, x(6, dtype=half)), **ROUGH, name="half"),
    Case("aten.native_group_norm.default", call(x("n", 6, 4), x(6), x(6), i("n"), 6, 4, 3, 1e-5)),
    Case("aten.native_group_norm.default", call(x("n", 6, 2, 2), None, None, i("n"), 6, 4, 3, 1e-5), name="plain"),
    Case("aten.instance_norm.default", call(x("n", 3, 4, 5), x(3), x(3), None, None, True, 0.1, 1e-5, True)),
    Case("aten.instance_norm.default", call(x("n", 3, 4), None, None, None, None, True, 0.1, 1e-5, True), name="plain"),
    Case("aten.instance_norm.default", call(x("n", 3, 4), None, None, x(3), positive(3), False, 0.1, 1e-5, True),
         name="stored"),
    Case(FUNCTIONAL, call(x("n", 3, 4, 5), *AFFINE, True, 0.1, 1e-5), name="training"),
    Case(FUNCTIONAL, call(x("n", 3), None, x(3), x(3), positive(3), True, 0.3, 1e-3), name="training-plain"),
    Case(FUNCTIONAL, call(x("n", 3, "n", dtype=half), *AFFINE, True, 0.1, 1e-5), **ROUGH, name="training-half"),
    Case(FUNCTIONAL, call(x("n", 3, 4), *AFFINE, False, 0.1, 1e-5), results=1),
    Case("aten.batch_norm.default", call(x("n", 3, 4, 5), *AFFINE, False, 0.1, 1e-5, True), weights=(1, 2, 3, 4)),
    Case("aten.batch_norm.default", call(x("n", 3), *BATCH, False, 0.1, 1e-3, True), name="plain"),
    Case("aten.batch_norm.default", call(x("n", 3, 4, dtype=half), *AFFINE, False, 0.1, 1e-5, True),
         weights=(1, 2, 3, 4), atol=5e-2, rtol=1e-2, name="half"),
    Case("aten.batch_norm.default", call(x("n", 3, 4), x(3), x(3), None, None, True, 0.1, 1e-5, True), name="own"),
    Case("aten.batch_norm.default", call(x("n", 3, 4), *AFFINE, True, 0.1, 1e-5, True),
         refused=("argument", "model.eval()")),
    Case("aten._native_batch_norm_legit_no_training.default", call(x("n", 3, 4, 5), *AFFINE, 0.1, 1e-5)),
    Case("aten._native_batch_norm_legit.no_stats", call(x("n", 3, 4, 5), x(3), x(3), True, 0.1, 1e-5)),
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
