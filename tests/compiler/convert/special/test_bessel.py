"""Bessel's functions over their ranges, infinities included."""

from __future__ import annotations

from collections.abc import Callable

import torch

from compiler.convert.special import bessel
from tests.compiler.convert.calls import call
from tests.compiler.convert.harness import Case, parametrize, run

INF, NAN = torch.inf, torch.nan


def line(low: float, high: float, *more: float) -> Callable[[int], torch.Tensor]:
    """[n, 60 + more]: evenly spaced numbers, none of them whole, and some special ones."""
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
]  # fmt: skip


@parametrize(CASES)
def test_special(case: Case) -> None:
    run(case)
