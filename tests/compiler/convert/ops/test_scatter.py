"""Elements replaced or reduced, against eager torch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.compiler.convert.calls import below, call, distinct, i, x
from tests.compiler.convert.harness import Case, parametrize, run

half, ints, boolean = torch.float16, torch.int64, torch.bool
REDUCE, PUT = "aten.scatter_reduce.two", "aten.index_put.default"
MODES = ("sum", "prod", "mean", "amax", "amin")


def rows(*sizes: int, dtype: torch.dtype = ints) -> object:
    """Positions 0..sizes[-1]-1 in random order along the last dim: no position twice."""
    return lambda n: torch.stack([torch.randperm(sizes[-1]) for _ in range(n)])[:, : sizes[0]]


def infinite(n: int) -> torch.Tensor:
    result = torch.randn(n, 4)
    result[:, 1] = torch.inf
    return result


def some(n: int) -> torch.Tensor:
    return torch.rand(n, 3) > 0.5


def special(count: int) -> Callable[[int], torch.Tensor]:
    """[n, count] with NaN and both infinities."""
    return lambda n: torch.tensor([1.0, torch.nan, -torch.inf, torch.inf])[:count].repeat(n, 1)


CASES = [
    Case("aten.scatter.src", call(x("n", 7), 1, rows(4, 7), x("n", 4))),
    Case("aten.scatter.src", call(x("2n", 7), -1, rows(4, 7), x("n", 6)), name="shorter"),
    Case("aten.scatter.src", call(x(), 0, below(1), x()), static=True, name="0d"),
    Case("aten.scatter.src", call(x("n", 7, dtype=ints), 1, rows(4, 7), x("n", 4, dtype=ints)), name="int"),
    Case("aten.scatter.src", call(x("n", 7, dtype=boolean), 1, rows(4, 7), x("n", 4, dtype=boolean)), name="bool"),
    Case("aten.scatter.value", call(x("n", 7), 1, below(7, "n", 3), 2.5)),
    Case("aten.scatter.value", call(x("n", 7, dtype=half), 1, below(7, "n", 3), 2), name="half"),
    Case("aten.scatter.reduce", call(x("n", 7), 1, below(7, "n", 9), x("n", 9), reduce="add")),
    Case("aten.scatter.value_reduce", call(x("n", 7), 1, below(7, "n", 3), 2.0, reduce="multiply")),
    Case("aten.scatter_add.default", call(x("n", 7), 1, below(7, "n", 9), x("n", 9))),
    Case("aten.scatter_add.default", call(x("n", 3), 0, below("n", "2n", 2), x("2n", 3)), name="dynamic"),
    Case("aten.scatter_add.default", call(x("n", 7), 1, below(7, "n", 4), infinite), name="inf"),
    Case("aten.scatter_add.default", call(x(), 0, below(1), x()), static=True, name="0d"),
    Case("aten.scatter_add.default", call(x(9999), 0, below(9999, 99999), x(99999)), static=True,
         refused=("argument", "at most")),
    *[Case(REDUCE, call(x("n", 5), 1, below(5, "n", 7), x("n", 7), mode, include_self=own), rtol=1e-4,
           name=f"{mode}-{own}") for mode in MODES for own in (True, False)],
    *[Case(REDUCE, call(below(9, "n", 5, low=-9), 1, below(5, "n", 7), below(9, "n", 7, low=-9), mode),
           name=f"{mode}-int") for mode in MODES],
    *[Case(REDUCE, call(x("n", 5, dtype=d), -1, below(5, "n", 7), x("n", 7, dtype=d), mode, include_self=False),
           atol=2e-2, rtol=2e-2, name=f"{mode}-{d}") for mode in MODES for d in (half, torch.bfloat16, torch.int32)],
    *[Case(REDUCE, call(x("n", 5, dtype=boolean), 1, below(5, "n", 3), some, mode), name=f"{mode}-bool")
      for mode in ("sum", "prod", "amax", "amin")],
    *[Case(REDUCE, call(special(3), 1, below(3, "n", 4), special(4), mode), name=f"{mode}-special")
      for mode in ("sum", "amax", "amin")],
    Case(REDUCE, call(x(), 0, below(1), x(), "amax"), static=True, name="0d"),
    Case("aten.index_copy.default", call(x("n", 7), 1, distinct(7, 3), x("n", 3))),
    Case("aten.index_copy.default", call(x("2n", 2), 0, distinct("2n", "n"), x("n", 2)), name="dynamic"),
    Case("aten.index_fill.int_Scalar", call(x("n", 7), 1, below(7, 3, low=-7), 2.5)),
    Case("aten.index_fill.int_Scalar", call(x("n", 7), 0, below(2), 1), name="0d-index"),
    Case("aten.index_fill.int_Tensor", call(x("n", 7), -1, below(7, 3), x())),
    Case("aten.index_add.default", call(x("n", 5), 1, below(5, 7), x("n", 7), alpha=0.5), rtol=1e-4),
    Case("aten.index_add.default", call(x("n", 5), 0, below("n", "2n"), x("2n", 5)), name="dynamic", rtol=1e-4),
    Case("aten.index_reduce.default", call(x("n", 5), 1, below(5, 7), x("n", 7), "amax")),
    Case("aten.index_reduce.default", call(x("n", 5), 1, below(5, 7), x("n", 7), "mean", include_self=False),
         name="mean"),
    Case("aten.slice_scatter.default", call(x("n", 7), x("n", 3), 1, 2, 5)),
    Case("aten.slice_scatter.default", call(x("n", 7), x("n", 3), 1, 1, 99, 2), name="step"),
    Case("aten.slice_scatter.default", call(x("n", 7), x("n", 7), 0), name="whole"),
    Case("aten.slice_scatter.default", call(x("2n", 3), x("n", 3), 0, i("n"), (1 << 63) - 1), name="dynamic"),
    Case("aten.select_scatter.default", call(x("n", 7), x("n"), 1, -2)),
    Case("aten.select_scatter.default", call(x("n", "n", dtype=boolean), x("n", dtype=boolean), 0, 0), name="bool"),
    Case("aten.masked_scatter.default", call(x("n", 4), lambda n: torch.rand(n, 4) > 0.5, x("n", 5))),
    Case("aten.masked_scatter.default", call(x("n", 4), lambda n: torch.rand(4) > 0.5, x("n", 5)), name="broadcast"),
    Case("aten.masked_scatter.default", call(x(4), lambda n: torch.rand(n, 4) > 0.5, x("n", 4)), name="grown"),
    *(
        Case("aten.diagonal_scatter.default", call(x(5, "n", 7), x("n", length), offset, 0, 2), name=f"{offset}")
        for offset, length in ((0, 5), (3, 4), (-2, 3))
    ),
    Case("aten.diagonal_scatter.default", call(x("n", "n"), x("n")), name="dynamic"),
    Case("aten.put.default", call(x("n", 7), lambda n: torch.tensor([[1, -1], [3, 0]]), x(2, 2))),
    Case("aten.put.default", call(x("n", 7), below(7, 9), x(9), True), rtol=1e-4, name="accumulate"),
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
