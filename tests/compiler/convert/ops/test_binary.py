"""Arithmetic on two numbers: promotion, broadcasting, signs, NaN, infinities, whole numbers."""

from __future__ import annotations

from typing import Any

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import (
    BOOL,
    F16,
    HALF,
    I32,
    I64,
    across,
    down,
    large,
    positive,
    scalar,
    whole,
)


def pairs(op: str, *extra: Any, **keywords: Any) -> Case:
    return Case(op, call(down(), across(), *extra, **keywords), name="special")


ARITHMETIC = ["add", "sub", "mul", "div", "maximum", "minimum", "fmax", "fmin", "rsub"]

OVERLOAD = {"maximum": "default", "minimum": "default", "fmax": "default", "fmin": "default"}


def _op(name: str) -> str:
    return f"aten.{name}.{OVERLOAD.get(name, 'Tensor')}"


CASES = [
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
    *(
        Case(f"aten.{f}", call(large(t), by), name=f"large {t} {k}")
        for t in (I32, I64)
        for f, k, by in (
            ("floor_divide.Scalar", "7", 7),
            ("floor_divide.Scalar", "-3", -3),
            ("floor_divide.default", "tensor", lambda n, t=t: whole(t, zero=False)(n)[:, :5]),
            ("remainder.Scalar", "7", 7),
            ("fmod.Scalar", "7", 7),
            ("remainder.Tensor", "tensor", lambda n, t=t: whole(t, zero=False)(n)[:, :5]),
        )
    ),
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
]


@parametrize(CASES)
def test_binary(case: Case) -> None:
    run(case)
