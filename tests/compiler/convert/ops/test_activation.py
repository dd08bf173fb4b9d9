"""Activation functions: each type, special values, each argument."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import BF16, BRAIN, F16, HALF, I32, I64, down, whole

PLAIN = [
    "relu", "relu6", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid", "hardtanh",
    "leaky_relu", "elu", "selu", "celu", "softplus", "mish", "hardshrink", "softshrink",
    "log_sigmoid", "log_sigmoid_forward", "rrelu", "gelu",
]  # fmt: skip
# torch's own vectorized gelu gives NaN at infinity, and 0 * inf elsewhere: finite values only.
FINITE = {"gelu"}


def values(name: str, dtype: torch.dtype = torch.float32):  # type: ignore[no-untyped-def]
    return x("n", 31, dtype=dtype) if name in FINITE else down(dtype)


def _op(name: str) -> str:
    return f"aten.{name}.default"


CASES = [
    *(Case(_op(f), call(values(f))) for f in PLAIN),
    *(Case(_op(f), call(values(f, F16)), **HALF, name="half") for f in PLAIN),
    *(Case(_op(f), call(values(f, BF16)), **BRAIN, name="bfloat16") for f in PLAIN),
    *(Case(_op(f), call(x("n", 2, 9)), name="random") for f in PLAIN),
    *(Case(_op(f), call(whole()), name="int64") for f in ("relu", "relu6", "sigmoid", "tanh")),
    Case("aten.relu.default", call(whole(I32)), name="int32"),
    Case("aten.gelu.default", call(x("n", 9), approximate="tanh"), name="tanh"),
    Case("aten.gelu.default", call(lambda n: torch.tensor(0.7)), name="0-d"),
    Case("aten.hardtanh.default", call(down(), -2, 0.5), name="bounds"),
    Case("aten.hardtanh.default", call(whole(), -2, 3), name="int64"),
    Case("aten.leaky_relu.default", call(down(), 0.3), name="slope"),
    Case("aten.leaky_relu.default", call(x("n", 5), -0.5), name="negative slope"),
    Case("aten.elu.default", call(down(), 0.5), name="alpha"),
    Case("aten.elu.default", call(down(), 0.5, 2.0), name="scale"),
    Case("aten.elu.default", call(x("n", 9), 0.5, 2.0, 0.7), name="input scale"),
    Case("aten.elu.default", call(x("n", 9), -0.5, 2.0), name="negative alpha"),
    Case("aten.celu.default", call(down(), 0.5), name="alpha"),
    Case("aten.softplus.default", call(down(), 2), name="beta"),
    Case("aten.softplus.default", call(x("n", 9), 2, 1), name="threshold"),
    Case("aten.threshold.default", call(down(), 0.5, 9.0)),
    Case("aten.threshold.default", call(whole(I64), 2, -1), name="int64"),
    Case("aten.hardshrink.default", call(down(), 0.75), name="lambd"),
    Case("aten.softshrink.default", call(down(), 0.75), name="lambd"),
    Case("aten.prelu.default", call(x("n", 3, 4), x(3))),
    Case("aten.prelu.default", call(x("n", 3, 4), x(1)), name="one"),
    Case("aten.prelu.default", call(x("n"), x(1)), name="1-d"),
    Case("aten.prelu.default", call(x("n", 3), lambda n: torch.tensor([0.1, -0.2, 0.3])),
         weights=(1,), name="weight"),
    Case("aten._prelu_kernel.default", call(x("n", 3, 4), x(1, 3, 1))),
    Case("aten.glu.default", call(x("n", 6))),
    Case("aten.glu.default", call(x("2n", 3), 0), name="dynamic"),
    Case("aten.glu.default", call(x(3, 4, "n", dtype=F16), -2), **HALF, name="half"),
    Case("aten.native_dropout.default", call(x("n", 3), 0.5, False)),
    Case("aten.native_dropout.default", call(x(), 0.5, False), static=True, name="0-d"),
    Case("aten.native_dropout.default", call(x(3, "n", dtype=F16), 0.0, None), name="half"),
    Case("aten.native_dropout.default", call(x("n", 3), 1.0, True), name="all dropped"),
    Case("aten.native_dropout.default", call(x("n", 3), 0.5, True), refused=("argument", "random"),
         name="training"),
    Case("aten.native_dropout.default", call(x("n", 3), 0.5, None), refused=("argument", "random"),
         name="unsaid"),
    Case("aten.rrelu.default", call(x("n", 3), 0.1, 0.3, True), refused=("argument", "training"),
         name="training"),
]  # fmt: skip


@parametrize(CASES)
def test_activation(case: Case) -> None:
    run(case)
