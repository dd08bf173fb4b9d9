"""The comparison that decides whether an output passes."""

from __future__ import annotations

import math

import pytest
import torch

from enginebundle.format.spec import Tolerance
from enginebundle.serve.compare import compare

LOOSE = Tolerance(0.1, 0.01)
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("got", "want", "worst"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 100.5], [1.0, 100.0], 0.5 / 1.1),
        ([NAN, INF, -INF], [NAN, INF, -INF], 0.0),
        ([], [], 0.0),
    ],
)
def test_within_tolerance(got: list[float], want: list[float], worst: float) -> None:
    found = compare(torch.tensor(got), torch.tensor(want), LOOSE)
    assert found.passed
    assert found.worst == pytest.approx(worst, rel=1e-6)
    assert found.detail == ""


@pytest.mark.parametrize(
    ("got", "want"),
    [
        ([NAN], [1.0]),
        ([1.0], [NAN]),
        ([INF], [1.0]),
        ([1.0], [INF]),
        ([INF], [-INF]),
        ([INF], [NAN]),
    ],
)
def test_a_stray_nan_or_infinity_fails(got: list[float], want: list[float]) -> None:
    found = compare(torch.tensor(got), torch.tensor(want), LOOSE)
    assert not found.passed
    assert found.worst == INF


def test_the_worst_element_is_named() -> None:
    want = torch.zeros(2, 3)
    got = want.clone()
    got[1, 2] = 0.3
    found = compare(got, want, LOOSE)
    assert not found.passed
    assert found.max_abs == pytest.approx(0.3)
    assert found.worst == pytest.approx(3.0)
    assert found.detail.startswith(
        "1 of 6 elements differ too much; the worst at [1, 2]: expected 0.0"
    )


def test_shape_and_dtype_must_be_equal() -> None:
    one = torch.ones(2)
    assert "expected shape [2], got [1, 2]" in compare(one[None], one, LOOSE).detail
    found = compare(one.double(), one, LOOSE)
    assert "expected dtype torch.float32, got torch.float64" in found.detail
    assert not found.passed


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_integers_and_bools_are_exact(dtype: torch.dtype) -> None:
    want = torch.tensor([0, 1, 1], dtype=dtype)
    huge = Tolerance(100.0, 100.0)
    assert compare(want.clone(), want, huge).passed
    found = compare(torch.tensor([0, 1, 0], dtype=dtype), want, huge)
    assert not found.passed
    assert "(exact)" in found.detail


def test_integers_beyond_doubles_are_exact() -> None:
    want = torch.tensor([2**53 + 1])
    assert not compare(want - 1, want, LOOSE).passed


def test_zero_tolerance_means_equal() -> None:
    one = torch.ones(2)
    exact = Tolerance(0.0, 0.0)
    assert compare(one, one, exact).passed
    assert not compare(one + 1e-6, one, exact).passed


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex64, torch.float64])
def test_other_floating_types(dtype: torch.dtype) -> None:
    want = torch.ones(4, dtype=dtype)
    assert compare(want * 1.05, want, LOOSE).passed
    assert not compare(want * 2, want, LOOSE).passed
