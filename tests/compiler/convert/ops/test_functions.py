"""Functions of one or two numbers, with special values."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import F16, HALF, INF, NAN, across, down, positive, scalar, whole

FORMULAS = [
    "atan2.default", "copysign.Tensor", "hypot.default", "logaddexp.default",
    "logaddexp2.default", "xlogy.Tensor", "special_xlog1py.default",
]  # fmt: skip


def neighbours(n: int) -> torch.Tensor:
    """[n, 117]: powers of two, their neighbours, and the limits of float32."""
    powers = 2.0 ** torch.arange(-18, 18)
    ends = torch.tensor([0.0, -0.0, 1e-45, 1e-38, 3.4e38, INF, -INF, NAN, 1.1754943508222875e-38])
    both = torch.cat([powers, powers * (1 + 2.0**-23), powers * (1 - 2.0**-24), ends])
    return torch.stack([both, -both]).repeat(n, 1, 1)


CASES = [
    *(Case(f"aten.{f}", call(down(), across()), name="special") for f in FORMULAS),
    *(Case(f"aten.{f}", call(x("n", 7), x(7))) for f in FORMULAS),
    *(
        Case(f"aten.{f}", call(x("n", 7, dtype=F16), x(7, dtype=F16)), **HALF, name="half")
        for f in FORMULAS
    ),
    *(
        Case(f"aten.{f}", call(whole(), whole()), name="int64")
        for f in FORMULAS
        if not f.startswith(("logaddexp", "hypot"))
    ),
    Case(
        "aten.hypot.default", call(lambda n: torch.full((n, 2), 3e30), scalar(4e30)), name="large"
    ),
    Case("aten.copysign.Scalar", call(x("n", 3), -0.0)),
    Case("aten.xlogy.Scalar_Other", call(down(), 2.0)),
    Case("aten.xlogy.Scalar_Self", call(0.0, across(torch.float32)), static=True),
    Case("aten.xlogy.Scalar_Self", call(1.5, down()), name="dynamic"),
    Case("aten.heaviside.default", call(down(), across())),
    Case("aten.heaviside.default", call(whole(), scalar(5, torch.int64)), name="int64"),
    Case("aten.special_entr.default", call(down())),
    Case("aten.special_entr.default", call(positive(F16)), **HALF, name="half"),
    Case("aten.frexp.Tensor", call(neighbours), atol=0, rtol=0),
    *(
        Case(
            "aten.nextafter.default",
            call(neighbours, towards),
            atol=0,
            rtol=0,
            name=f"{towards(1).flatten()[0]}",
        )
        for towards in (scalar(INF), scalar(-INF), scalar(0.0), scalar(NAN), neighbours)
    ),
]


@parametrize(CASES)
def test_functions(case: Case) -> None:
    run(case)
