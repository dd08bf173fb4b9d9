"""Padding against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run

CASES = [
    Case("aten.constant_pad_nd.default", call(x("n", 4), [1, 2])),
    Case("aten.constant_pad_nd.default", call(x("n", 4), [1, 2, 0, 3], 7.5), name="two-dims"),
    Case("aten.constant_pad_nd.default", call(x("n", 4), [-1, 2, -1, 0], 1.0), name="crop"),
    Case("aten.constant_pad_nd.default", call(x("n", 4), [i("n"), 0]), name="dynamic"),
    Case("aten.constant_pad_nd.default", call(x("n", 4), [0, 0]), name="nothing"),
    Case("aten.constant_pad_nd.default", call(x("n", 4), [1, 1], float("-inf")), name="inf"),
    Case("aten.constant_pad_nd.default", call(x("n", 4, dtype=torch.int64), [1, 1], 3), name="int"),
    Case(
        "aten.constant_pad_nd.default", call(x("n", 4, dtype=torch.bool), [1, 1], True), name="bool"
    ),
    Case(
        "aten.constant_pad_nd.default", call(x("n", 4, dtype=torch.float16), [1, 1], 3), name="half"
    ),
    Case("aten.pad.default", call(x("n", 4), [1, 2])),
    Case("aten.pad.default", call(x("n", 4), [1, 2], "constant", 2.5), name="value"),
    Case("aten.pad.default", call(x("n", 3, 4), [1, 2], "reflect"), name="reflect"),
    Case("aten.pad.default", call(x("n", 3, 4), [1, 2], "replicate"), name="replicate"),
    Case("aten.pad.default", call(x("n", 3, 4), [1, 2], "circular"), name="circular"),
    Case("aten.pad.default", call(x("n", 3, 6), [-1, 2], "circular"), name="circular cut"),
    Case("aten.pad.default", call(x("n", 3, 6), [2, -1], "circular"), name="circular cut behind"),
    Case("aten.pad.default", call(x("n", 3, 6), [-2, -1], "circular"), name="circular all cut"),
    Case("aten._pad_enum.default", call(x("n", 3, 4), [1, 2], 1)),
    Case("aten._pad_circular.default", call(x("n", 3, 4, 5), [1, 2, 0, 1])),
    Case("aten.reflection_pad1d.default", call(x("n", 3, "n+2"), [1, 2])),
    Case("aten.reflection_pad2d.default", call(x("n", 3, 4, 5), [1, 2, 3, 0])),
    Case("aten.reflection_pad3d.default", call(x("n", 3, 4, 5, 3), [1, 2, 3, 0, 0, 1])),
    Case("aten.replication_pad1d.default", call(x(3, "n"), [4, 5])),
    Case("aten.replication_pad2d.default", call(x("n", 3, 4, 5), [1, 2, 3, -1])),
    Case("aten.replication_pad3d.default", call(x("n", 3, 4, 5, 3), [1, 2, 3, 0, 0, 1])),
]


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
