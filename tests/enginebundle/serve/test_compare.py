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


@pytest.mark.parametrize(
    ("got", "want"),
    [(torch.ones(2, 1), torch.ones(2)), (torch.ones(2).double(), torch.ones(2))],
)
def test_what_cannot_be_subtracted_differs_without_end(
    got: torch.Tensor, want: torch.Tensor
) -> None:
    found = compare(got, want, LOOSE)
    assert (found.max_abs, found.worst, found.passed) == (INF, INF, False)


def test_an_empty_output_is_equal_to_itself() -> None:
    found = compare(torch.empty(0, 3), torch.empty(0, 3), LOOSE)
    assert (found.max_abs, found.worst, found.passed) == (0.0, 0.0, True)


def test_the_difference_is_told_beside_the_ratio() -> None:
    found = compare(torch.tensor([1.0, 10.5]), torch.tensor([1.25, 10.0]), LOOSE)
    assert found.max_abs == 0.5
    assert found.worst == pytest.approx(2.5)
    assert found.detail == (
        "2 of 2 elements differ too much; the worst at [1]: expected 10.0, got 10.5 "
        "(atol 0.1, rtol 0.01)"
    )


@pytest.mark.parametrize("off", [0.125, -0.125])
def test_a_difference_of_just_the_bound_passes(off: float) -> None:
    bound = Tolerance(0.125, 0.0)
    found = compare(torch.tensor([1.0 + off, 1.0]), torch.tensor([1.0, 1.0]), bound)
    assert (found.max_abs, found.worst, found.passed) == (0.125, 1.0, True)
    mixed = compare(torch.tensor([1.0 + off, 2.0]), torch.tensor([1.0, 1.0]), bound)
    assert mixed.detail.startswith("1 of 2 elements differ too much; the worst at [1]")


def test_an_infinity_that_is_wanted_allows_nothing_else() -> None:
    """rtol * infinity would allow every difference."""
    found = compare(torch.tensor([INF, 5.0]), torch.tensor([INF, 1.0]), LOOSE)
    assert not found.passed
    assert found.max_abs == 4.0
    assert found.worst == pytest.approx(4.0 / 0.11)


def test_a_stray_nan_has_no_finite_difference() -> None:
    found = compare(torch.tensor([NAN, 1.0]), torch.tensor([1.0, 1.0]), LOOSE)
    assert (found.max_abs, found.worst) == (INF, INF)
    assert "the worst at [0]: expected 1.0, got nan" in found.detail


def test_complex_numbers_are_compared_in_both_parts() -> None:
    want = torch.tensor([1 + 1j, 2 - 2j], dtype=torch.complex64)
    got = torch.tensor([1 + 1j, 2 - 2.5j], dtype=torch.complex64)
    found = compare(got, want, Tolerance(0.0, 0.1))
    assert not found.passed
    assert found.max_abs == pytest.approx(0.5)
    assert found.worst == pytest.approx(0.5 / (0.1 * 8**0.5))
    assert compare(want, want, Tolerance(0.0, 0.0)).passed


def test_neither_gradients_nor_strides_stand_in_the_way() -> None:
    want = torch.arange(6.0).reshape(2, 3).T.requires_grad_()
    assert compare(want, want.detach().contiguous(), Tolerance(0.0, 0.0)).passed
    found = compare(want + torch.eye(3, 2), want, LOOSE)
    assert found.detail.startswith("2 of 6 elements differ too much; the worst at [0, 0]")


def test_large_integers_are_told_as_they_are() -> None:
    want = torch.tensor([3, 2**53 + 1])
    found = compare(want - torch.tensor([0, 1]), want, LOOSE)
    assert found.worst == INF
    assert f"expected {2**53 + 1}, got {2**53} (exact)" in found.detail


def test_a_difference_of_one_is_like_any_other() -> None:
    found = compare(torch.tensor([2.0]), torch.tensor([1.0]), Tolerance(2.0, 0.0))
    assert (found.max_abs, found.worst, found.passed) == (1.0, 0.5, True)


def test_what_is_slightly_outside_counts_as_outside() -> None:
    found = compare(torch.tensor([1.15, 5.0]), torch.tensor([1.0, 1.0]), Tolerance(0.1, 0.0))
    assert found.passed is False
    assert found.detail.startswith("2 of 2 elements differ too much")
