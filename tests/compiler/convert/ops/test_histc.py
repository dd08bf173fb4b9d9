"""aten.histc against eager torch: borders, bounds of its own, NaN and infinity."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import below, call, x
from tests.compiler.convert.harness import Case, parametrize, run

HISTC = "aten.histc.default"
INF, NAN = float("inf"), float("nan")


def whole(limit: int, *sizes: int | str):  # type: ignore[no-untyped-def]
    """Whole numbers as floats: every one lies on a border of unit spans."""
    return lambda n: below(limit, *sizes)(n).float()


CASES = [
    Case(HISTC, call(x("n", 7), 5, -3, 4)),
    Case(HISTC, call(whole(8, "4n"), 8, 0, 7), name="experts"),
    Case(HISTC, call(whole(9, "4n", 3), 3, 1, 7), name="borders"),
    Case(HISTC, call(x("2n"), 4), name="own-bounds"),
    Case(HISTC, call(lambda n: torch.full((n,), 2.0), 4), name="one-value"),
    Case(HISTC, call(lambda n: torch.tensor([NAN, INF, -INF, 1.0] * n), 2, 0, 2), name="special"),
    Case(HISTC, call(lambda n: torch.tensor(1.5), 3, 0, 3), static=True, name="0d"),
]


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
