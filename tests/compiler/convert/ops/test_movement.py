"""Repeating, reversing, rotating and fixed patterns against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run

ints = torch.int64
CASES = [
    Case("aten.repeat.default", call(x("n", 3), [2, 1])),
    Case("aten.repeat.default", call(x("n", 1), [1, 4]), name="expand"),
    Case("aten.repeat.default", call(x("n", 3), [2, 1, 3]), name="leading"),
    Case("aten.repeat.default", call(x("n", 1, dtype=ints), [1, i("n")]), name="dynamic"),
    Case("aten.repeat.default", call(x("n", 3, dtype=torch.bool), [2, 2]), name="bool"),
    Case("aten.repeat.default", call(x(), [2, 3]), static=True, name="0d"),
    Case("aten.repeat.default", call(x(2, 3), [1, 1]), static=True, name="nothing"),
    Case("aten.tile.default", call(x("n", 3), [2])),
    Case("aten.tile.default", call(x("n", 3), [2, 1, 2]), name="leading"),
    Case("aten.repeat_interleave.self_int", call(x("n", 3), 2, 1)),
    Case("aten.repeat_interleave.self_int", call(x("n", 3), 2), name="flat"),
    Case("aten.repeat_interleave.self_int", call(x("n", 3), 3, -2), name="negative"),
    Case("aten.flip.default", call(x("n", 3, "n"), [0, -1])),
    Case("aten.flip.default", call(x("n", 3, dtype=ints), [1]), name="int"),
    Case("aten.flip.default", call(x(), []), static=True, name="0d"),
    Case("aten.flip.default", call(x("n", 0, 3), [0, 1]), name="empty"),
    Case("aten.roll.default", call(x("n", 7, 5), [1, -2], [0, 1])),
    Case("aten.roll.default", call(x("n", 3), [2]), name="flat"),
    Case("aten.roll.default", call(x("n", 7), [9], [-1]), name="beyond"),
    Case("aten.roll.default", call(x("n", 7), [i("n")], [-1]), name="dynamic"),
    Case("aten.roll.default", call(x("n", 7), [1, 2], [1, 1]), name="twice"),
    Case("aten.roll.default", call(x(4, dtype=torch.bool), [1], [0]), static=True, name="bool"),
    *[Case("aten.rot90.default", call(x("n", 3, 4), k, [0, 2]), name=str(k)) for k in range(-1, 4)],
    Case("aten.diagonal.default", call(x("n", "n"))),
    Case("aten.diagonal.default", call(x("n", 9, 4), 0, 1, 2), name="batch"),
    Case("aten.diagonal.default", call(x(4, 6), 1), static=True, name="above"),
    Case("aten.diagonal.default", call(x(4, 6, 2), -2, 1, 0), static=True, name="swapped"),
    Case("aten.diagonal.default", call(x(4, 6), 7), static=True, name="outside"),
    Case("aten.diag_embed.default", call(x("n", 3))),
    Case("aten.diag_embed.default", call(x(2, "n"), 2), name="above"),
    Case("aten.diag_embed.default", call(x(2, "n"), -1, 0, 2), name="below"),
    Case("aten.diag_embed.default", call(x(3, dtype=torch.bool)), static=True, name="bool"),
    Case("aten.unfold.default", call(x("n", 9), 1, 3, 2)),
    Case("aten.unfold.default", call(x(3, "2n"), -1, 2, 2), name="dynamic"),
    Case("aten.unfold.default", call(x("2n+1", 3), 0, 3, 2), name="overlap"),
    Case("aten.pixel_shuffle.default", call(x("n", 8, 3, "n"), 2)),
    Case("aten.pixel_shuffle.default", call(x(2, "n", 9, 2, 2), 3), name="leading"),
    Case("aten.pixel_unshuffle.default", call(x("n", 2, "2n", 4), 2)),
    Case("aten.channel_shuffle.default", call(x("n", 6, 2, 2), 3)),
]


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
