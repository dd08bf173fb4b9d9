"""Ranges between constant and computed numbers."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import F16, scalar

CASES = [
    *(
        Case(
            f"aten.{f}.{which}",
            call(start, end, steps, *base),
            rtol=1e-4,
            name=f"{steps}",
            static=True,
        )
        for f, base in (("linspace", ()), ("logspace", (2.0,)))
        for which, start, end in (
            ("Tensor_Tensor", scalar(-2.5), scalar(4.0)),
            ("Tensor_Scalar", scalar(3), -2.0),
            ("Scalar_Tensor", 1, scalar(2.0, F16)),
        )
        for steps in (0, 1, 2, 9)
    ),
    Case(
        "aten.linspace.Tensor_Tensor",
        call(scalar(0), scalar(9), 4, dtype=torch.int64),
        static=True,
        refused=("argument", "float64"),
    ),
    Case("aten.arange.default", call(5), static=True),
    Case("aten.arange.default", call(5.5), static=True, name="float"),
    Case("aten.arange.start", call(2, 5, dtype=torch.float32), static=True),
    Case("aten.arange.start_step", call(5, -3, -2), static=True),
    Case("aten.arange.start_step", call(0.0, 1.0, 0.1), static=True, name="float"),
    Case("aten.arange.start_step", call(3, 3), static=True, name="none"),
    Case("aten.linspace.default", call(0.0, 1.0, 7), static=True),
    Case("aten.linspace.default", call(3, -2, 5, dtype=F16), static=True, name="half"),
]


@parametrize(CASES)
def test_creation(case: Case) -> None:
    run(case)
