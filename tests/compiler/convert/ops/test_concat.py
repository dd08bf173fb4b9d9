"""Tensors joined, against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run

half, ints = torch.float16, torch.int64

CASES = [
    Case("aten.cat.default", call([x("n", 3), x("n", 2)], 1)),
    Case("aten.cat.default", call([x("n", 3), x("2n", 3), x(1, 3)], -2), name="dynamic"),
    Case("aten.cat.default", call([x("n", 3), x(0)], 1), name="legacy-empty"),
    Case("aten.cat.default", call([x("n", 3), x("n", 0)], 1), name="empty"),
    Case("aten.cat.default", call([x("n", dtype=ints), x("n", dtype=half)]), name="promotion"),
    Case("aten.cat.default", call([x("n", dtype=torch.bool), x(2, dtype=torch.bool)]), name="bool"),
    Case("aten.concat.default", call([x("n", 3)], 1), name="one"),
    Case("aten.stack.default", call([x("n", 3), x("n", 3)], -1)),
    Case("aten.stack.default", call([x(), x(dtype=ints)]), static=True, name="0d"),
    Case("aten.hstack.default", call([x("n"), x(3)])),
    Case("aten.hstack.default", call([x("n", 3), x("n", 2)]), name="matrices"),
    Case("aten.hstack.default", call([x(), x()]), static=True, name="0d"),
    Case("aten.vstack.default", call([x("n"), x("n")])),
    Case("aten.vstack.default", call([x("n", 3), x(3)]), name="mixed"),
    Case("aten.dstack.default", call([x("n"), x("n")])),
    Case("aten.dstack.default", call([x("n", 3), x("n", 3)]), name="matrices"),
    Case("aten.column_stack.default", call([x("n"), x("n", 2)])),
]


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
