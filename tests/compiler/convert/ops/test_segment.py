"""Segments of every length, including empty ones, of any dimension."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run

OP = "aten.segment_reduce.default"


def lengths(*numbers: int) -> object:
    return lambda n: torch.tensor(numbers)


def per_row(n: int) -> torch.Tensor:
    return torch.tensor([[2, 0, 3], [1, 4, 0]]).repeat(n, 1)


CASES = [
    *(
        Case(OP, call(x(6, "n"), mode, lengths=lengths(2, 1, 3), initial=initial), rtol=1e-4,
             build=initial is None, name=f"{mode} {initial}")
        for mode in ("sum", "mean", "max", "min", "prod")
        for initial in (None, 1)
    ),
    Case(OP, call(x(6, "n"), "mean", lengths=lengths(2, 0, 4), unsafe=True), name="none"),
    Case(OP, call(x("2n", 5, 3), "sum", lengths=per_row, axis=1), rtol=1e-4, name="rows"),
    Case(OP, call(x("2n", 5), "max", offsets=lambda n: torch.tensor([[0, 2, 5]]).repeat(2 * n, 1), axis=1),
         name="offsets"),
]  # fmt: skip


@parametrize(CASES)
def test_segment(case: Case) -> None:
    run(case)
