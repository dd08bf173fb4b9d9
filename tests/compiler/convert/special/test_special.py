"""Gamma's and Bessel's functions over their ranges, poles and infinities included."""

from __future__ import annotations

from collections.abc import Callable

import torch

from compiler.convert.special import bessel
from tests.compiler.convert.calls import call
from tests.compiler.convert.harness import Case, parametrize, run

INF, NAN = torch.inf, torch.nan


def line(low: float, high: float, *more: float) -> Callable[[int], torch.Tensor]:
    """[n, 60 + more]: evenly spaced, none of them whole, and some special ones."""
    numbers = torch.cat([torch.linspace(low, high, 60) + 0.013, torch.tensor(more)])
    return lambda n: numbers.repeat(n, 1)


def half(n: int) -> torch.Tensor:
    return torch.linspace(0.3, 9, 20).to(torch.float16).repeat(n, 1)


def whole(n: int) -> torch.Tensor:
    return torch.arange(1, 9).repeat(n, 1)


POLES = (0.0, -0.0, INF, NAN)
ROWS = {op: line(-9, 40, *POLES, -INF) for op in bessel.TABLE.rows}
ROWS |= {op: line(0, 40, *POLES) for op in ROWS if "_k" in op or "bessel_y" in op}

CASES = [
    *(Case(op, call(make), rtol=1e-4, atol=1e-5, build="0" in op) for op, make in ROWS.items()),
    Case("aten.i0.default", call(half), rtol=2e-3, name="half"),
    Case("aten.i0.default", call(whole), rtol=1e-4, name="int64"),
    Case("aten.lgamma.default", call(line(-9, 60, *POLES, -3.0, 1e-6, 1e6, -INF)), rtol=1e-4, atol=1e-5),
    Case("aten.lgamma.default", call(half), rtol=2e-3, atol=1e-3, name="half"),
    Case("aten.digamma.default", call(line(-9, 60, *POLES, -3.0, 1e6)), rtol=1e-4, atol=1e-5),
    Case("aten.digamma.default", call(whole), rtol=1e-4, name="int64"),
    *(
        Case("aten.polygamma.default", call(n, line(-8, 20)), rtol=2e-4, atol=1e-3, build=n < 3, name=f"{n}")
        for n in range(5)
    ),
    Case("aten.special_zeta.default", call(line(1, 12), line(0.1, 20)), rtol=1e-4),
    Case("aten.special_zeta.default", call(line(-2, 3, 1.0, 2.0), line(-9, 9, 0.0, -2.0)), rtol=1e-4,
         build=False, name="poles"),
    Case("aten.special_zeta.other_scalar", call(line(1, 12), 2.0), rtol=1e-4, build=False),
    Case("aten.special_zeta.self_scalar", call(3, line(-9, 9)), rtol=1e-4, build=False),
    Case("aten.special_erfcx.default", call(line(-5, 40, *POLES)), rtol=1e-4),
    Case("aten.special_log_ndtr.default", call(line(-40, 9, *POLES, -INF)), rtol=1e-4),
    Case("aten.special_ndtri.default", call(lambda n: torch.cat(
        [torch.linspace(0, 1, 99), 10 ** -torch.linspace(3, 37, 60), torch.tensor([-0.5, 1.5, NAN])]
    ).repeat(n, 1)), rtol=1e-4, atol=1e-5),
]  # fmt: skip


@parametrize(CASES)
def test_special(case: Case) -> None:
    run(case)
