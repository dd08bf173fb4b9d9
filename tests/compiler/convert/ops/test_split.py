"""Parts of tensors, against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run

END = (1 << 63) - 1

half, ints = torch.float16, torch.int64

CASES = [
    Case("aten.slice.Tensor", call(x("n", 7), 1, 1, 6, 2)),
    Case("aten.slice.Tensor", call(x("n", 7), 0, 0, END), name="whole"),
    Case("aten.slice.Tensor", call(x("2n", 3), 0, 1, END), name="open"),
    Case("aten.slice.Tensor", call(x("2n", 3), 0, -2), name="last-two"),
    Case("aten.slice.Tensor", call(x("2n", 3), 0, 0, -1), name="but-last"),
    Case("aten.slice.Tensor", call(x("2n", 3), 0, 1, 3), name="static-ends"),
    Case("aten.slice.Tensor", call(x("2n", "n"), 0, i("n"), i("2n-1")), name="dynamic-ends"),
    Case("aten.slice.Tensor", call(x("2n", "n"), 0, i("-n"), END), name="dynamic-negative"),
    Case("aten.slice.Tensor", call(x(9, "n"), 0, 1, i("n")), name="dynamic-end"),
    Case("aten.slice.Tensor", call(x("n", 3), 0, -99, 99), name="clamped"),
    Case("aten.slice.Tensor", call(x("n", 7), 1, 5, 2), name="empty"),
    Case("aten.slice.Tensor", call(x("2n", 3), 0, 0, END, 2), name="step"),
    Case("aten.slice.Tensor", call(x("2n", 3, dtype=torch.bool), -2, 1, END), name="bool"),
    Case("aten.slice.Tensor", call(x("2n", 3, dtype=ints), -2, 1, END), name="int"),
    Case("aten.slice.Tensor", call(x("2n", 3, dtype=half), -2, 1, END), name="half"),
    Case("aten.select.int", call(x("n", 3, 4), 1, 2)),
    Case("aten.select.int", call(x("n", 3, 4), 0, -1), name="negative"),
    Case("aten.select.int", call(x("n", "2n"), 1, i("n")), name="dynamic"),
    Case("aten.select.int", call(x("2n", "n"), 0, i("-n")), name="dynamic-negative"),
    Case("aten.select.int", call(x("n"), 0, 0), name="1d"),
    Case("aten.select.int", call(x("n", 3, dtype=torch.bool), 1, 0), name="bool"),
    Case("aten.narrow.default", call(x("n", 7), 1, 2, 3)),
    Case("aten.narrow.default", call(x("2n", 3), 0, -2, 2), name="negative"),
    Case("aten.narrow.default", call(x("2n", "n"), 0, 1, i("n")), name="dynamic"),
    Case("aten.narrow_copy.default", call(x("n", 7), 1, 2, 3)),
    Case("aten.unbind.int", call(x("n", 3, 2), 1)),
    Case("aten.unbind_copy.int", call(x("n", 3, 2), 2)),
    Case("aten.unbind.int", call(x("n", 3, 2), -1), name="negative"),
    Case("aten.unbind.int", call(x("n", 3), 1), name="0d"),
    Case("aten.split.Tensor", call(x("n", 7), 3, 1)),
    Case("aten.split.Tensor", call(x("n", 7), 7, -1), name="one"),
    Case("aten.unsafe_split.Tensor", call(x("n", 6), 3, 1)),
    Case("aten.split.Tensor", call(x("2n", "n"), i("n"), 0), name="dynamic"),
    Case("aten.split.Tensor", call(x("2n+1", "n"), i("n"), 0), name="dynamic-rest"),
    Case("aten.split.Tensor", call(x("n-1", 2), 4, 0), name="whole-of-dynamic"),
    Case("aten.split_with_sizes.default", call(x("n", 7), [3, 0, 4], 1)),
    Case(
        "aten.split_with_sizes.default", call(x("2n", "n"), [i("n"), 1, i("n-1")]), name="dynamic"
    ),
    Case("aten.split.sizes", call(x("n", 7), [3, 4], 1)),
    Case("aten.chunk.default", call(x("n", 6), 3, 1)),
    Case("aten.chunk.default", call(x("n", 7), 4, 1), name="uneven"),
    Case("aten.chunk.default", call(x("n", 5), 4, 1), name="fewer"),
    Case("aten.chunk.default", call(x("3n"), 3), name="dynamic"),
    Case("aten.tensor_split.sections", call(x("n", 7), 3, 1)),
    Case("aten.tensor_split.sections", call(x("3n+2"), 3), name="dynamic"),
    Case("aten.tensor_split.indices", call(x("n", 7), [2, 5, 9], 1)),
    Case("aten.tensor_split.indices", call(x("2n", "n"), [i("n"), -1], 0), name="dynamic"),
]


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
