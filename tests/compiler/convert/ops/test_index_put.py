"""self[indices] = values and += values, against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import below, call, distinct, x
from tests.compiler.convert.harness import Case, parametrize, run

half, ints, boolean = torch.float16, torch.int64, torch.bool

REDUCE, PUT = "aten.scatter_reduce.two", "aten.index_put.default"

CASES = [
    Case(PUT, call(x("n", 7), [None, distinct(7, 3)], x("n", 3))),
    Case(PUT, call(x("n", 7), [lambda n: distinct("n", 2)(n) - n], x(7)), name="negative-broadcast"),
    Case(PUT, call(x("2n", 7), [distinct("2n", "n")], x("n", 1)), name="dynamic"),
    Case(PUT, call(x("n", 4, 5), [distinct("n", "n"), None, distinct(5, 1)], x()), name="separated"),
    Case(PUT, call(x(2, "n", 4, 5), [None, lambda n: torch.arange(n).unsqueeze(1), distinct(4, 3)], x(2, "n", 3, 5)),
         name="adjacent"),
    Case(PUT, call(x("n", 5, dtype=ints), [below("n", 9)], x(9, 5, dtype=ints), True), name="accumulate"),
    Case(PUT, call(x(3, "n", 5), [None, below("n", 9), below(5, 9)], x(3, 9), True), name="accumulate-pairs"),
    Case(PUT, call(x("n", 5), [lambda n: torch.rand(n, 5) > 0.5], x()), name="mask"),
    Case(PUT, call(x("n", 4, 5), [None, lambda n: torch.rand(4) > 0.5], x("n", 1, 5)), name="mask-inner"),
    Case(PUT, call(x("n", 4, 5), [lambda n: torch.rand(n, 4) > 0.5], x(5)), name="mask-rows"),
    Case(PUT, call(x("n", 4, 5), [lambda n: torch.rand(n, 4) > 0.5], x(1, 5), True), name="mask-add"),
    Case(PUT, call(x("n", 4), [lambda n: torch.arange(n) < 2], x(2, 4)), refused=("argument", "depends on data")),
    Case("aten._unsafe_index_put.default", call(x("n", 7), [None, distinct(7, 3)], x("n", 3))),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
