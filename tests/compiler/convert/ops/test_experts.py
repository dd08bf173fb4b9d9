"""Products grouped by expert, against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run


def offs(*ends: int):  # type: ignore[no-untyped-def]
    """Ends of the first groups; the last one takes the rest of 2n rows."""
    return lambda n: torch.tensor([*ends, 2 * n], dtype=torch.int32)


CASES = [
    Case("aten._grouped_mm.default", call(x("2n", 8), x(3, 8, 4), offs(1, 3)), atol=1e-4),
    Case("aten._grouped_mm.default", call(x("2n", 8), x(4, 8, 4), offs(0, 3, 3)), name="empty"),
    Case("aten._grouped_mm.default", call(x("2n", 8), x(1, 8, 4), offs()), name="one"),
    Case(
        "aten._grouped_mm.default", call(x(3, "n", 8), x(3, 8, 4)), refused=("argument", "ranks"),
        name="pairs",
    ),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
