"""Histograms: edges, numbers outside, a single number, no numbers."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import below, call, x
from tests.compiler.convert.harness import Case, parametrize, run


def edges(*numbers: float) -> object:
    return lambda n: torch.tensor(numbers, dtype=torch.float32)


def ones(n: int) -> torch.Tensor:
    return torch.ones(n, 3)


def on_edges(n: int) -> torch.Tensor:
    return torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, -1.0, 5.0]).repeat(n, 1)


COUNT, BETWEEN = "aten.histogram.bin_ct", "aten.histogram.bins_tensor"

EDGES, POINTS = "aten._histogramdd_bin_edges.default", "aten._histogramdd_from_bin_cts.default"

CASES = [
    Case("aten.histc.default", call(x("n", 9), 7, -3, 4)),
    Case("aten.histc.default", call(x("n", 9), 5), name="of the data"),
    Case("aten.histc.default", call(ones, 4), name="one number"),
    Case("aten.histc.default", call(on_edges, 4, 0, 4), name="edges"),
    Case(COUNT, call(x("n", 9), 6)),
    Case(COUNT, call(x("n", 9), 4, range=[-2.0, 3.0], density=True), name="density"),
    Case(COUNT, call(x("n", 9), 4, weight=lambda n: torch.rand(n, 9)), rtol=1e-4, name="weight"),
    Case(COUNT, call(ones, 3), name="one number"),
    Case(COUNT, call(on_edges, 4, range=[0.0, 4.0]), name="edges"),
    Case(COUNT, call(x(0), 3), static=True, name="none"),
    Case(BETWEEN, call(x("n", 9), edges(-4, -1, 0, 0.5, 6))),
    Case(BETWEEN, call(on_edges, edges(0, 1, 3, 4), density=True), name="density"),
    Case(BETWEEN, call(x("n", 9), edges(3, -4, 0, 5, -1, 9)), name="unsorted"),
    Case(EDGES, call(x("n", 2), [3, 4])),
    Case(EDGES, call(x("n", 2), [3, 4], range=[0.0, 1.0, -2.0, 2.0]), name="range"),
    Case(POINTS, call(x("2n", 3), [2, 3, 4])),
    Case(POINTS, call(x("2n", 2), [2, 3], range=[-9.0, 9.0, -3.0, 9.0], density=True), rtol=1e-4, name="density"),
    Case("aten._histogramdd_from_bin_tensors.default", call(x("2n", 2), [edges(-4, 0, 4), edges(-9, 1, 2, 9)])),
]  # fmt: skip


INF, NAN = float("inf"), float("nan")


def whole(limit: int, *sizes: int | str):  # type: ignore[no-untyped-def]
    """Whole numbers as floats: each lies on an edge of unit bins."""
    return lambda n: below(limit, *sizes)(n).float()


HISTC = [
    Case("aten.histc.default", call(x("n", 7), 5, -3, 4)),
    Case("aten.histc.default", call(whole(8, "4n"), 8, 0, 7), name="experts"),
    Case("aten.histc.default", call(whole(9, "4n", 3), 3, 1, 7), name="borders"),
    Case("aten.histc.default", call(x("2n"), 4), name="own-bounds"),
    Case("aten.histc.default", call(lambda n: torch.full((n,), 2.0), 4), name="one-value"),
    Case(
        "aten.histc.default",
        call(lambda n: torch.tensor([NAN, INF, -INF, 1.0] * n), 2, 0, 2),
        name="special",
    ),
    Case("aten.histc.default", call(lambda n: torch.tensor(1.5), 3, 0, 3), static=True, name="0d"),
]


@parametrize(CASES)
def test_histogram(case: Case) -> None:
    run(case)


@parametrize(HISTC)
def test_against_eager(case: Case) -> None:
    run(case)
