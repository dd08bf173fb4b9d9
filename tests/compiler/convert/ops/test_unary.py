"""Functions of one number: each type, special values, the edges of each function's range."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run

INF, NAN = math.inf, math.nan
SPECIAL = (
    -INF,
    -1e4,
    -3.5,
    -2.5,
    -1.0,
    -0.5,
    -1e-3,
    -0.0,
    0.0,
    1e-3,
    0.5,
    1.0,
    1.5,
    2.5,
    1e4,
    INF,
    NAN,
)
F16, BF16, I32, I64, BOOL = torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.bool
HALF = {"atol": 1e-3, "rtol": 2e-3}
BRAIN = {"atol": 1e-2, "rtol": 1e-2}


def special(dtype: torch.dtype = torch.float32) -> Callable[[int], torch.Tensor]:
    """[n, 25]: special values first, then random ones."""

    def make(n: int) -> torch.Tensor:
        rows = torch.randn(n, 25) * 2
        rows[:, : len(SPECIAL)] = torch.tensor(SPECIAL)
        return rows.to(dtype)

    return make


def integers(dtype: torch.dtype) -> Callable[[int], torch.Tensor]:
    return lambda n: torch.randint(-9, 10, (n, 25)).to(dtype)


FLOAT = [
    "exp", "log", "sqrt", "reciprocal", "sin", "cos", "tan", "sinh", "cosh", "asin", "acos",
    "atan", "asinh", "acosh", "atanh", "erf", "rsqrt", "log2", "log10", "log1p", "expm1", "exp2",
    "sinc", "erfc", "erfinv", "deg2rad", "rad2deg", "logit", "special_entr",
]  # fmt: skip
"""Integers become float32."""

KEEP = ["ceil", "floor", "round", "trunc", "neg", "positive"]
"""The dtype of numbers is kept."""

ANY = [
    "abs", "sign", "sgn", "signbit", "isnan", "isinf", "isfinite", "isposinf", "isneginf",
    "logical_not", "nan_to_num", "square", "angle",
]  # fmt: skip


def _name(name: str) -> str:
    return f"aten.{name}.default"


CASES = [
    *(Case(_name(f), call(special())) for f in (*FLOAT, *KEEP, *ANY)),
    *(Case(_name(f), call(special(F16)), **HALF, name="half") for f in (*FLOAT, *KEEP, *ANY)),
    *(
        Case(_name(f), call(special(BF16)), **BRAIN, name="bfloat16")
        for f in ("exp", "log1p", "expm1", "erfc", "round", "trunc", "sign", "isnan", "rsqrt")
    ),
    *(Case(_name(f), call(integers(I64)), name="int64") for f in (*FLOAT, *KEEP, *ANY)),
    *(Case(_name(f), call(integers(I32)), name="int32") for f in ("exp", "abs", "neg", "square")),
    *(
        Case(_name(f), call(integers(BOOL)), name="bool")
        for f in ("exp", "sqrt", "log1p", *ANY)
        if f not in ("abs", "square")
    ),
    *(Case(_name(f), call(lambda n: torch.tensor(0.25)), name="0-d") for f in ("exp", "erfinv")),
    *(Case(_name(f), call(lambda n: torch.empty(n, 0)), name="empty") for f in ("exp", "log1p")),
    Case("aten.exp.default", call(x("n", 3)), static=True),
    Case("aten.frac.default", call(special())),
    Case("aten.frac.default", call(special(F16)), name="half"),
    Case("aten.logit.default", call(special(), 0.1), name="eps"),
    Case("aten.round.decimals", call(x("n", 5), decimals=2), name="2"),
    Case("aten.round.decimals", call(x("n", 5), decimals=-1), name="-1"),
    Case("aten.round.decimals", call(special(F16), decimals=1), **HALF, name="half"),
    Case("aten.nan_to_num.default", call(special(), 7.0, 8.0, -8.0), name="all"),
    Case("aten.nan_to_num.default", call(special(BF16), None, 8.0), name="bfloat16"),
    Case("aten.bitwise_not.default", call(integers(BOOL)), name="bool"),
    Case("aten.bitwise_not.default", call(integers(I64)), name="int64"),
    Case("aten.bitwise_not.default", call(integers(I32)), name="int32"),
    Case(
        "aten.exp.default",
        call(lambda n: torch.zeros(n, dtype=torch.float64)),
        refused=("dtype", "got float64"),
        name="float64",
    ),
    Case(
        "aten.special_airy_ai.default",
        refused=("no_converter", "airy_ai"),
        make=call(x("n")),
        name="none",
    ),
]


@parametrize(CASES)
def test_unary(case: Case) -> None:
    run(case)
