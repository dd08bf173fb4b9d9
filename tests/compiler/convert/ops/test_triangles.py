"""Triangles, identities and their indices."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import BOOL, F16, I32, whole

CASES = [
    *(
        Case(f"aten.{f}.default", call(make, k), name=f"{name} {k}")
        for f in ("tril", "triu")
        for k in (0, -1, 2)
        for name, make in (("square", x("n", "n")), ("batch", x("n", 3, 4)))
    ),
    *(
        Case(f"aten.{f}.default", call(make), name=name)
        for f in ("tril", "triu")
        for name, make in (
            ("bool", whole(BOOL)), ("int64", whole()), ("half", x(3, "n", dtype=F16)),
            ("infinite", lambda n: torch.full((n, n), float("-inf"))),
        )
    ),
    Case("aten.triu.default", call(x("n", "n"), i("n-1")), name="size"),
    Case("aten.eye.default", call(3), static=True),
    Case("aten.eye.m", call(3, 5, dtype=torch.int64), static=True),
    Case("aten.tril_indices.default", call(3, 4, 1), static=True),
    Case("aten.triu_indices.default", call(3, 4, -1, dtype=I32), static=True),
]  # fmt: skip


@parametrize(CASES)
def test_creation(case: Case) -> None:
    run(case)
