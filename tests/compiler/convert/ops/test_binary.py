"""Arithmetic on two numbers: promotion, broadcasting, signs, NaN, infinities, whole numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run

INF, NAN = math.inf, math.nan
VALUES = (-INF, -7.5, -2.0, -1.0, -0.5, -0.0, 0.0, 0.25, 1.0, 3.0, 7.5, INF, NAN)
F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
I32, I64, BOOL = torch.int32, torch.int64, torch.bool
HALF = {"atol": 1e-3, "rtol": 2e-3}
BRAIN = {"atol": 1e-2, "rtol": 1e-2}

Make = Callable[[int], torch.Tensor]


def down(dtype: torch.dtype = F32) -> Make:
    """[n, 13, 1] special values; with `across`, every pair of them meets."""
    return lambda n: torch.tensor(VALUES).reshape(1, -1, 1).repeat(n, 1, 1).to(dtype)


def across(dtype: torch.dtype = F32) -> Make:
    return lambda n: torch.tensor(VALUES).to(dtype)


def whole(dtype: torch.dtype = I64, zero: bool = True) -> Make:
    """[n, 7] small integers of both signs."""

    def make(n: int) -> torch.Tensor:
        found = torch.randint(-9, 10, (n, 7))
        return (found if zero else torch.where(found == 0, 4, found)).to(dtype)

    return make


def positive(dtype: torch.dtype = F32) -> Make:
    return lambda n: (torch.rand(n, 7) * 4 + 0.1).to(dtype)


def scalar(value: Any, dtype: torch.dtype = F32) -> Make:
    return lambda n: torch.tensor(value, dtype=dtype)


def pairs(op: str, *extra: Any, **keywords: Any) -> Case:
    return Case(op, call(down(), across(), *extra, **keywords), name="special")


ARITHMETIC = ["add", "sub", "mul", "div", "maximum", "minimum", "fmax", "fmin", "rsub"]
OVERLOAD = {"maximum": "default", "minimum": "default", "fmax": "default", "fmin": "default"}


def _op(name: str) -> str:
    return f"aten.{name}.{OVERLOAD.get(name, 'Tensor')}"


CASES = [
    # -- promotion and broadcasting
    *(pairs(_op(f)) for f in ARITHMETIC),
    *(Case(_op(f), call(down(F16), across(F16)), **HALF, name="half") for f in ARITHMETIC),
    *(Case(_op(f), call(whole(), whole(zero=False)), name="int64") for f in ARITHMETIC),
    *(Case(_op(f), call(whole(I32), x("n", 1)), name="int and float") for f in ARITHMETIC),
    *(
        Case(_op(f), call(whole(BOOL), whole(BOOL)), name="bool")
        for f in ("add", "mul", "maximum", "minimum", "fmax", "fmin")
    ),
    *(
        Case(f"aten.{f}.Tensor", call(x("n", 3), scalar(2.5)), name="0-d")
        for f in ("add", "sub", "mul", "div")
    ),
    Case("aten.add.Tensor", call(x("n", 3, dtype=F16), scalar(2.5)), **HALF, name="half and 0-d"),
    Case("aten.add.Tensor", call(whole(I32), scalar(3, I64)), name="0-d int64 ranks lower"),
    Case("aten.add.Tensor", call(scalar(1), scalar(2, I64)), name="0-d both"),
    Case("aten.add.Tensor", call(whole(BOOL), whole(I32)), name="bool and int32"),
    Case("aten.add.Tensor", call(x("n", 0), x("n", 1)), name="empty"),
    Case("aten.add.Tensor", call(x("n", 1, 3), x(4, 1)), name="broadcast"),
    Case("aten.add.Tensor", call(x("n", 3), x("n", 3)), weights=(1,), static=True, name="weight"),
    Case("aten.add.Tensor", call(x("n", 3), x(3)), weights=(0,), static=True, name="weight first"),
    Case("aten.add.Tensor", call(x("n", 3), 2), name="number"),
    Case("aten.add.Tensor", call(whole(), 2.5), name="int and number"),
    Case("aten.mul.Tensor", call(x("n", 3), i("n")), name="size"),
    Case("aten.add.Scalar", call(whole(I32), 2, 3), name="alpha"),
    Case("aten.add.Tensor", call(x("n", 3), x(3), alpha=-0.5), name="alpha"),
    Case(
        "aten.add.Tensor",
        call(x("n", 3, dtype=F16), x(3, dtype=F16), alpha=0.3),
        **HALF,
        name="half alpha",
    ),
    Case("aten.add.Tensor", call(whole(BOOL), whole(BOOL), alpha=True), name="bool alpha"),
    Case("aten.sub.Tensor", call(whole(), whole(), alpha=2), name="alpha"),
    Case("aten.sub.Scalar", call(x("n", 3), 2.5)),
    Case("aten.rsub.Scalar", call(x("n", 3), 2.5, 3)),
    Case("aten.mul.Scalar", call(whole(), 2.5)),
    Case("aten.div.Scalar", call(whole(), 4)),
    Case("aten.true_divide.Tensor", call(whole(), whole(zero=False))),
    Case("aten.addcmul.default", call(x("n", 3), x(3), x("n", 1), value=0.5)),
    Case("aten.addcmul.default", call(whole(), whole(), whole(), value=2), name="int64"),
    Case("aten.addcdiv.default", call(x("n", 7), x(7), positive(), value=2)),
    Case("aten.lerp.Scalar", call(x("n", 3), x("n", 3), 0.25)),
    Case("aten.lerp.Scalar", call(x("n", 3), x("n", 3), 0.75), name="far"),
    Case("aten.lerp.Tensor", call(x("n", 3), x("n", 3), x(3))),
    Case(
        "aten.lerp.Tensor",
        call(x("n", 3, dtype=F16), x("n", 3, dtype=F16), x(3, dtype=F16)),
        atol=1e-2,
        rtol=1e-2,
        name="half",
    ),
    # -- division
    *(
        Case("aten.div.Tensor_mode", call(*pair, rounding_mode=mode), name=f"{mode} {name}", **kind)
        for mode in ("floor", "trunc", None)
        for name, pair, kind in (
            ("float", (x("n", 7), positive()), {}),
            ("int64", (whole(), whole(zero=False)), {}),
            ("int32", (whole(I32), whole(I32, zero=False)), {}),
            ("half", (x("n", 7, dtype=F16), positive(F16)), HALF),
        )
    ),
    Case("aten.div.Scalar_mode", call(whole(), -4, rounding_mode="floor")),
    Case("aten.div.Scalar_mode", call(x("n", 5), 1.5, rounding_mode="trunc"), name="float"),
    Case("aten.floor_divide.default", call(whole(), whole(zero=False))),
    Case("aten.floor_divide.Scalar", call(whole(), 3)),
    Case("aten.floor_divide.default", call(x("n", 7), positive()), name="float"),
    *(
        Case(f"aten.{f}.Tensor", call(*pair), name=name, **kind)
        for f in ("remainder", "fmod")
        for name, pair, kind in (
            ("special", (down(), across()), {}),
            ("int64", (whole(), whole(zero=False)), {}),
            ("int32", (whole(I32), whole(I32, zero=False)), {}),
            ("half", (x("n", 7, dtype=F16), scalar(1.5, F16)), HALF),
        )
    ),
    Case("aten.remainder.Scalar", call(whole(), -4)),
    Case("aten.remainder.Scalar_Tensor", call(7, whole(zero=False))),
    Case("aten.fmod.Scalar", call(x("n", 5), 1.5)),
    # -- powers
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
    # -- bounds
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
