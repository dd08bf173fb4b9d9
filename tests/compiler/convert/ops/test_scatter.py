"""Elements written or reduced at positions, against eager torch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.compiler.convert.calls import below, call, x
from tests.compiler.convert.harness import Case, parametrize, run

half, ints, boolean = torch.float16, torch.int64, torch.bool

REDUCE, PUT = "aten.scatter_reduce.two", "aten.index_put.default"

MODES = ("sum", "prod", "mean", "amax", "amin")


def rows(*sizes: int, dtype: torch.dtype = ints) -> object:
    """Positions 0..sizes[-1]-1 in random order along the last dim, none of them twice."""
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
    Case("aten.masked_scatter.default", call(x("n", 4), lambda n: torch.rand(n, 4) > 0.5, x("n", 5))),
    Case("aten.masked_scatter.default", call(x("n", 4), lambda n: torch.rand(4) > 0.5, x("n", 5)), name="broadcast"),
    Case("aten.masked_scatter.default", call(x(4), lambda n: torch.rand(n, 4) > 0.5, x("n", 4)), name="grown"),
    Case("aten.put.default", call(x("n", 7), lambda n: torch.tensor([[1, -1], [3, 0]]), x(2, 2))),
    Case("aten.put.default", call(x("n", 7), below(7, 9), x(9), True), rtol=1e-4, name="accumulate"),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
