"""Running sums, products and extremes."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.values import BOOL, F16, HALF, I32, INF, NAN, whole


def lone(n: int) -> torch.Tensor:
    return torch.tensor(2.5)


def bumps(n: int) -> torch.Tensor:
    """Equal elements, NaN and infinities, in rows of 7."""
    table = [[1, 3, 3, 2, 5, 5, 0], [2, NAN, 9, NAN, 1, 1, 1], [-INF, -INF, 0, INF, 1, INF, -INF]]
    return torch.tensor(table).repeat(n, 1, 1)


def tall(n: int) -> torch.Tensor:
    """[3, n]: the rows of `bumps`, cut."""
    return bumps(1)[0][:, :n]


CASES = [
    Case("aten.cumsum.default", call(x("n", 3, 4), 1)),
    Case("aten.cumsum.default", call(x("n", 3, 4), -3), name="dynamic"),
    Case("aten.cumsum.default", call(whole(I32), -1), name="int32"),
    Case("aten.cumsum.default", call(whole(BOOL), 0), name="bool"),
    Case("aten.cumsum.default", call(whole(), 0, dtype=torch.float32), name="dtype"),
    Case("aten.cumsum.default", call(x("n", 9, dtype=F16), 1), atol=2e-2, rtol=2e-2, name="half"),
    Case("aten.cumsum.default", call(lone, 0), name="0-d"),
    Case("aten.cumprod.default", call(x("n", 9), 1), rtol=1e-4),
    Case("aten.cumprod.default", call(x("n", 1), -1), name="one"),
    Case("aten.cumprod.default", call(whole(), 1), name="int64"),
    Case("aten.cumprod.default", call(whole(I32), 1, dtype=I32), name="int32"),
    Case("aten.cumprod.default", call(bumps, -1), name="special"),
    Case("aten.cumprod.default", call(x("n", 4, dtype=F16), 1), **HALF, name="half"),
    Case("aten.cumprod.default", call(x("n", 4), 0), rtol=1e-4, name="dynamic"),
    Case("aten.cumprod.default", call(tall, 1), name="dynamic special"),
    Case("aten.cumprod.default", call(x(2, "n", dtype=F16), 1), **HALF, name="dynamic half"),
    Case("aten.logcumsumexp.default", call(x("n", 9), 1)),
    Case("aten.logcumsumexp.default", call(lambda n: torch.randn(n, 9) * 200, 1), name="large"),
    Case("aten.logcumsumexp.default", call(lambda n: torch.randn(3, n) * 200, 1), name="dynamic"),
    Case("aten.logcumsumexp.default", call(x(3, "n", 2), 1), name="dynamic middle"),
    *(
        Case(f"aten.{f}.default", call(*args), name=name)
        for f in ("cummax", "cummin")
        for name, args in (
            ("float", (x("n", 9), -1)),
            ("middle", (x("n", 4, 2), 1)),
            ("special", (bumps, -1)),
            ("int64", (whole(), 1)),
            ("0-d", (lone, 0)),
            ("dynamic", (x(2, "n", 3), 1)),
            ("dynamic special", (tall, 1)),
            ("dynamic int64", (lambda n: torch.tensor([2, 2, 1, 3, 3])[:n], 0)),
        )
    ),
]  # fmt: skip


@parametrize(CASES)
def test_scan(case: Case) -> None:
    run(case)
