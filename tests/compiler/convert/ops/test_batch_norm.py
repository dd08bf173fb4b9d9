"""Batch norm and instance norm against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import MakeTensor

half, bf16, ints, f32 = torch.float16, torch.bfloat16, torch.int64, torch.float32

ROUGH = {"atol": 2e-2, "rtol": 2e-3}


def positive(*sizes: int) -> MakeTensor:
    return lambda n: torch.rand(sizes) + 0.5


FUNCTIONAL = "aten._native_batch_norm_legit_functional.default"

BATCH = (None, None, x(3), positive(3))

AFFINE = (x(3), x(3), x(3), positive(3))

CASES = [
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
    *[Case(op, call(x(0, 1), x(0), x(0), x(0), x(0), *flags, 0.1, 1e-5), static=True, name="other channels",
           refused=("argument", "each of 1 channels"))
      for op, flags in ((FUNCTIONAL, (False,)), ("aten._native_batch_norm_legit_no_training.default", ()))],
    Case("aten._native_batch_norm_legit.no_stats", call(x("n", 3, 4, 5), x(3), x(3), True, 0.1, 1e-5)),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
