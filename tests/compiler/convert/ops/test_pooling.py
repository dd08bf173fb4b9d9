"""Pooling against eager torch, with every rule for partial windows."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.compiler.convert.calls import below, call, x
from tests.compiler.convert.harness import Case, parametrize, run

half = torch.float16
MAX, AVG = "aten.max_pool2d.default", "aten.avg_pool2d.default"
INDICES = "aten.max_pool2d_with_indices.default"
ADAPTIVE, ADAPTIVE_MAX = "aten.adaptive_avg_pool2d.default", "aten.adaptive_max_pool2d.default"


def special(value: float) -> Callable[[int], torch.Tensor]:
    def make(n: int) -> torch.Tensor:
        result = torch.randn(n, 2, 6, 7)
        result[0, 1, 2, 3] = value
        return result

    return make


CASES = [
    Case(MAX, call(x("n", 3, 8, 8), [3, 3], [2, 2], [1, 1])),
    Case(MAX, call(x("n", 3, "2n+4", "2n+5"), [2, 2]), static=True, name="default-stride"),
    Case(MAX, call(x("n", 3, "2n+4", "2n+4"), [3], [2], [1]), name="dynamic"),
    Case(MAX, call(x("n", 3, "2n+5", "2n+4"), [3, 3], [2, 2], [1, 1], [1, 1], True), name="ceil-dynamic"),
    Case(MAX, call(x("n", 3, 8, 9), [2, 2], [2, 2], [0, 0], [1, 1], True), name="ceil"),
    Case(MAX, call(x("n", 3, 5, 9), [2, 3], [3, 3], [1, 1], [1, 1], True), name="ceil-dropped"),
    Case(MAX, call(x("n", 3, 9, 9), [3, 2], [1, 2], [1, 1], [2, 3]), name="dilated"),
    Case(MAX, call(x(3, 8, "2n+2"), [2, 2]), static=True, name="unbatched"),
    Case(MAX, call(below(99, "n", 3, 8, 8), [3, 3], [2, 2], [1, 1]), name="int"),
    Case(MAX, call(x("n", 3, 8, 8, dtype=half), [3, 3], [2, 2], [1, 1]), name="half"),
    Case(MAX, call(special(float("nan")), [3, 3], [2, 2], [1, 1]), name="nan"),
    Case(MAX, call(special(float("-inf")), [1, 1], [2, 2]), name="inf"),
    Case(MAX, call(lambda n: torch.full((n, 1, 4, 4), float("nan")), [2, 2]), name="all-nan"),
    Case(MAX, call(special(float("nan")), [3, 3], [2, 2], [1, 1], [2, 1]), name="dilated-nan"),
    Case("aten.max_pool1d.default", call(x("n", 3, 9), [3], [2], [1])),
    Case("aten.max_pool1d.default", call(x(3, 9), [3], [2], [1], [1], True), static=True, name="unbatched"),
    Case("aten.max_pool3d.default", call(x("n", 2, 6, 7, 8), [2, 3, 2], [2, 2, 1], [1, 1, 0])),
    Case("aten.max_pool1d_with_indices.default", call(x("n", 3, 9), [3], [2], [1])),
    Case(INDICES, call(x("n", 3, 8, 7), [3, 3], [2, 2], [1, 1])),
    Case(INDICES, call(x("n", 3, "2n+4", "2n+4"), [2, 2], [2, 2]), name="dynamic"),
    Case(INDICES, call(x("n", 2, 9, 9), [3, 2], [1, 2], [1, 1], [2, 3], True), name="dilated"),
    Case(INDICES, call(lambda n: torch.zeros(n, 2, 6, 6), [3, 3], [2, 2], [1, 1]), name="ties"),
    Case(INDICES, call(special(float("-inf")), [2, 2]), name="inf"),
    Case(INDICES, call(special(float("nan")), [3, 3], [2, 2], [1, 1]), name="nan"),
    Case("aten.max_pool3d_with_indices.default", call(x("n", 2, 5, 6, 4), [2, 2, 2], [1, 2, 2], [1, 0, 1])),
    Case(AVG, call(x("n", 3, 8, 8), [3, 3], [2, 2], [1, 1])),
    Case(AVG, call(x("n", 3, 8, 8), [3, 3], [2, 2], [1, 1], False, False), name="exclude"),
    Case(AVG, call(x("n", 3, 8, 9), [3, 3], [2, 2], [1, 1], True), name="ceil"),
    Case(AVG, call(x("n", 3, 8, 9), [3, 3], [2, 2], [1, 1], True, False), name="ceil-exclude"),
    Case(AVG, call(x("n", 3, 8, 9), [2, 3], [3, 3], [1, 1], True), name="ceil-dropped"),
    Case(AVG, call(x("n", 3, 8, 9), [3, 3], [2, 2], [0, 0], True), name="ceil-plain"),
    Case(AVG, call(x("n", 3, 8, 9), [999, 999], [999, 999], [0, 0], True), name="beyond"),
    Case(AVG, call(x("n", 3, 8, 9), [99, 9], [99, 1], [3, 1], True), name="beyond-padded"),
    Case(AVG, call(x("n", 3, 8, 9), [99, 9], [99, 1], [3, 1], True, True, 7), name="beyond-divisor"),
    Case(MAX, call(x("n", 3, 8, 9), [999, 3], [999, 3], [1, 1], [1, 1], True), name="beyond"),
    Case(AVG, call(x("n", 3, 8, 8), [3, 3], [2, 2], [1, 1], False, True, 5), name="divisor"),
    Case(AVG, call(x("n", 3, 8, 9), [3, 3], [2, 2], [1, 1], True, True, 5), name="divisor-ceil"),
    Case(AVG, call(x("n", 3, "2n+5", "2n+4"), [3, 3], [2, 2], [1, 1]), name="dynamic"),
    Case(AVG, call(x("n", 3, "2n+5", "2n+4"), [3, 3], [2, 2], [1, 1], True), name="dynamic-ceil"),
    Case(AVG, call(x(3, 8, 8), [2, 2]), static=True, name="unbatched"),
    Case("aten.avg_pool1d.default", call(x("n", 3, 9), [3], [2], [1])),
    Case("aten.avg_pool1d.default", call(x("n", 3, 9, dtype=half), [3], [2], [1], True), atol=1e-2, name="half"),
    Case("aten.avg_pool3d.default", call(x("n", 2, 6, 7, 8), [2, 3, 2], [2, 2, 1], [1, 1, 0], True)),
    Case(ADAPTIVE, call(x("n", 3, 7, 5), [1, 1])),
    Case(ADAPTIVE, call(x("n", 3, "n+3", "2n"), [1, 1]), name="dynamic-one"),
    Case(ADAPTIVE, call(x("n", 3, 8, 6), [4, 2]), name="even"),
    Case(ADAPTIVE, call(x("n", 3, 7, 5), [3, 4]), name="uneven"),
    Case(ADAPTIVE, call(x("n", 3, 3, 2), [5, 7]), name="larger"),
    Case(ADAPTIVE, call(x("n", 3, "n+3", "2n"), [3, 2]), name="dynamic"),
    Case(ADAPTIVE, call(special(float("inf")), [4, 4]), name="inf"),
    Case("aten._adaptive_avg_pool2d.default", call(x("n", 3, 8, 6), [4, 2])),
    Case("aten.adaptive_avg_pool1d.default", call(x("n", 3, 7), [3])),
    Case("aten.adaptive_avg_pool1d.default", call(x("n", 8), [4]), static=True, name="unbatched"),
    Case("aten.adaptive_avg_pool3d.default", call(x("n", 2, 4, 5, 6), [2, 3, 1])),
    Case("aten._adaptive_avg_pool3d.default", call(x("n", 2, 4, 6, 6), [2, 3, 1])),
    Case(ADAPTIVE_MAX, call(x("n", 3, 8, 6), [4, 2])),
    Case(ADAPTIVE_MAX, call(x("n", 3, 7, 5), [3, 4]), name="uneven"),
    Case(ADAPTIVE_MAX, call(x("n", 3, "n+3", "2n"), [3, 2]), name="dynamic"),
    Case(ADAPTIVE_MAX, call(special(float("nan")), [3, 3]), name="nan"),
    Case("aten.adaptive_max_pool1d.default", call(x("n", 3, 7), [3])),
    Case("aten.adaptive_max_pool3d.default", call(x("n", 2, 4, 5, 6), [2, 3, 1])),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
