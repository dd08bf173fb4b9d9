"""Distances between rows against eager torch."""

from __future__ import annotations

import math

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run

CDIST, PDIST = "aten._cdist_forward.default", "aten._pdist_forward.default"
NORMS = (0.0, 0.5, 1.0, 2.0, 3.0, math.inf)


def special(*sizes: int) -> object:
    """Rows with NaN, both infinities and two equal ones."""

    def make(n: int) -> torch.Tensor:
        result = torch.randn(n + sizes[0], sizes[1])
        result[1] = result[0]
        result[2, 0], result[3, 1], result[4, 0] = math.nan, math.inf, -math.inf
        return result

    return make


CASES = [
    *[Case(CDIST, call(x("n", 4, 6), x("n", 5, 6), p, None), rtol=1e-4, name=f"{p}") for p in NORMS],
    Case(CDIST, call(x("n", 3, 6), x("2n", 6), 2.0, 1), rtol=1e-4, name="broadcast"),
    Case(CDIST, call(x(3, 1, "n", 6), x(2, "n+1", 6), 1.0, 2), name="broadcast-dynamic"),
    Case(CDIST, call(x("n", "n"), x(4, "n"), 2.0, 0), rtol=1e-4, name="dynamic-columns"),
    Case(CDIST, call(x("30n", 6), x("40n", 6), 2.0, 2), rtol=1e-4, name="many"),
    Case(CDIST, call(x(4, 0), x(5, 0), 2.0, None), static=True, name="no-columns"),
    Case(CDIST, call(x("n", 4, 6), x("n", 0, 6), 2.0, None), name="no-rows"),
    Case(CDIST, call(special(5, 3), x("n", 3), 1.0, 2), name="special"),
    Case(CDIST, call(x(4096, 64), x(4096, 64), 2.0, 1), static=True, atol=3e-3, build=False, name="completed"),
    *[Case(PDIST, call(x("n", 6), p), rtol=1e-4, name=f"{p}") for p in NORMS],
    Case(PDIST, call(x(1, "n")), name="one-row"),
    Case(PDIST, call(x(0, 4)), static=True, name="no-rows"),
    Case(PDIST, call(x(70, 2)), static=True, rtol=1e-4, name="static"),
    Case(PDIST, call(special(5, 3), math.inf), static=True, name="special"),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
