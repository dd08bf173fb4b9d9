"""Bags of table rows against eager torch."""

from __future__ import annotations

import math

import torch

from tests.compiler.convert.calls import below, call, x
from tests.compiler.convert.harness import Case, parametrize, run

BAG = "aten._embedding_bag.default"
FORWARD = "aten._embedding_bag_forward_only.default"
ints = torch.int32


def offsets(*, last: bool = False, dtype: torch.dtype = torch.int64) -> object:
    """n bags over 3n indices, the second one empty; with `last`, the end of the last one is included."""

    def make(n: int) -> torch.Tensor:
        found = [0, *[1 + 2 * k for k in range(n - 1)]]
        found[-1] = found[-2]
        return torch.tensor([*found, 3 * n] if last else found, dtype=dtype)

    return make


def infinite(n: int) -> torch.Tensor:
    result = torch.randn(9, 4)
    result[1], result[2, 1], result[3, 0] = math.inf, -math.inf, math.nan
    return result


CASES = [
    *[
        Case(op, call(x(9, 4), below(9, "3n"), offsets(), False, mode), results=1, name=f"{mode}")
        for op in (BAG, FORWARD)
        for mode in (0, 1, 2)
    ],
    *[
        Case(BAG, call(x("n", 4), below("n", "3n", dtype=ints), offsets(dtype=ints), False, mode, False,
                       None, False, 1), results=1, name=f"padding-{mode}")
        for mode in (0, 1, 2)
    ],
    Case(BAG, call(x(9, "n"), below(9, "3n"), offsets(last=True), True, 1, True, None, True), results=1, name="last"),
    Case(BAG, call(x(9, 4), below(9, "3n"), offsets(), False, 0, False, x("3n")), results=1, name="weighted"),
    Case(BAG, call(x(9, 4, dtype=torch.float16), below(9, "3n"), offsets(), False, 0), results=1, atol=2e-2,
         name="half"),
    Case(BAG, call(infinite, below(9, "3n"), offsets(), False, 0), results=1, name="infinite"),
    Case(BAG, call(x(9, 4), below(9, 0), lambda n: torch.zeros(n, dtype=torch.int64)), results=1, name="empty"),
    Case(BAG, call(x(9, 512), below(9, 9999), lambda n: torch.arange(99)), static=True, results=1,
         refused=("argument", "at most")),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
