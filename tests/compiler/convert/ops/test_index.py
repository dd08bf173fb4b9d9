"""Elements picked by tensors of positions, against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import below, call, x
from tests.compiler.convert.harness import Case, parametrize, run

half, ints, small = torch.float16, torch.int64, torch.int32
INDEX = "aten.index.Tensor"
CASES = [
    Case("aten.embedding.default", call(x(11, 4), below(11, "n", 3))),
    Case("aten.embedding.default", call(x(11, 4), below(11, "n", 3, dtype=small), 0),
         weights=(0,), name="weight"),
    Case("aten.embedding.default", call(x("n", 4, dtype=half), below(2)), name="0d"),
    Case("aten.index_select.default", call(x("n", 7), 1, below(7, "2n"))),
    Case("aten.index_select.default", call(x("n", 7), -2, below("n", 3)), name="negative"),
    Case("aten.index_select.default", call(x(), 0, below(1, 1)), static=True, name="0d"),
    Case("aten.index_select.default", call(x("n", dtype=torch.bool), 0, below("n", 3)), name="bool"),
    Case("aten.gather.default", call(x("n", 7), 1, below(7, "n", 3))),
    Case("aten.gather.default", call(x("2n", 7), 1, below(7, "n", 9)), name="shorter"),
    Case("aten.gather.default", call(x("n", 7), 0, below("n", 4, 5)), name="shorter-static"),
    Case("aten.gather.default", call(x(), 0, below(1)), static=True, name="0d"),
    Case("aten.gather.default", call(x("n", dtype=torch.bool), 0, below("n", 3)), name="bool"),
    Case("aten.take.default", call(x("n", 3), below("3n", 2, 2, low="-3n"))),
    Case("aten.take_along_dim.default", call(x("n", 5), below(5, "n", 2, low=-5), 1)),
    Case("aten.take_along_dim.default", call(x("n", 5), below(5, 1, 2), 1), name="broadcast"),
    Case("aten.take_along_dim.default", call(x("n", 5), below("5n", 4)), name="flat"),
    Case(INDEX, call(x("n", 4, 5), [None, below(4, 3, low=-4)])),
    Case(INDEX, call(x("n", 4), [below("n", 2, 3, low="-n")]), name="first"),
    Case(INDEX, call(x(6, 4), [below(6, "n", low=-6)]), weights=(0,), name="weight"),
    Case(INDEX, call(x("n", 4), [below(3, 3, 1), below(4, 2, low=-4)]), static=True,
         name="broadcast"),
    Case(INDEX, call(x("n", "n", 4, 3), [None, below("n", 3, low="-n"), below(4, 2, 1, low=-4)]),
         name="adjacent"),
    Case(INDEX, call(x("n", 3, 4, 5), [below("n", 3, low="-n"), None, below(4, 2, 1, low=-4)]),
         name="separated"),
    Case(INDEX, call(x(2, "n", 3, 4), [None, below("n", 3), None, below(4, 3)]),
         name="separated-inside"),
    Case(INDEX, call(x("n", "2n"), [below("n", "n"), below("2n", "n")]), name="pairs"),
    Case(INDEX, call(x("n", 1, "n", 5), [below("n", "n", 1, 1, 1), below(1), below("n", "n", 1),
                                         below(5, 5)]), name="mask-pattern"),
    Case(INDEX, call(x("n", 4), [None, below(4)]), name="0d"),
    Case(INDEX, call(x("n", 4), [None, below(4, 0)]), name="empty"),
    Case(INDEX, call(x("n", 4, dtype=torch.bool), [below("n", 3, dtype=small)]), name="bool"),
    Case(INDEX, call(x("n", 4), [x("n", dtype=torch.bool)]), static=True,
         refused=("argument", "bool mask")),
    *(
        Case("aten.combinations.default", call(x(5), r, again), static=True, build=r == 2, name=f"{r} {again}")
        for r in (1, 2, 3)
        for again in (False, True)
    ),
    Case("aten.combinations.default", call(x("n")), refused=("argument", "static size"), name="dynamic"),
    Case("aten._unsafe_index.Tensor", call(x("n", 4, 5), [None, None, below(5, 3)])),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
