"""Windows summed into a plane, against eager torch."""

from __future__ import annotations

import math

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run

FOLD = "aten.col2im.default"


def infinite(n: int) -> torch.Tensor:
    result = torch.randn(n, 12, 9)
    result[0, 3, 4], result[1, 5, 2] = math.inf, math.nan
    return result


CASES = [
    Case(FOLD, call(x("n", 12, 9), [4, 4], [2, 2], [1, 1], [0, 0], [1, 1])),
    Case(FOLD, call(x(12, 9), [4, 4], [2, 2], [1, 1], [0, 0], [1, 1]), static=True, name="unbatched"),
    Case(FOLD, call(x("n", 18, 12), [5, 7], [3, 3], [1, 1], [1, 1], [2, 2]), name="padded"),
    Case(FOLD, call(x("n", 12, 6), [5, 6], [2, 3], [2, 1], [1, 0], [2, 2]), name="dilated"),
    Case(FOLD, call(x("n", 8, 4), [5, 5], [2, 2], [1, 1], [0, 0], [3, 3]), name="gaps"),
    Case(FOLD, call(x("n", 8, "4n"), [5, i("n+1")], [2, 2], [1, 1], [0, 0], [1, 1]), name="dynamic"),
    Case(FOLD, call(x("n", 8, "n", dtype=torch.float16), [2, i("n+1")], [2, 2], [1, 1], [0, 0], [1, 1]), atol=1e-2,
         name="half"),
    Case(FOLD, call(infinite, [4, 4], [2, 2], [1, 1], [0, 0], [1, 1]), name="infinite"),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
