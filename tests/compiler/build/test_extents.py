"""The smallest and the largest shape of an input over a profile."""

from __future__ import annotations

from itertools import product

import pytest

from compiler.build.extents import extents
from enginebundle.format import dims
from enginebundle.format.spec import Profile, Range, TensorSpec

PROFILE = Profile("p", (("b", Range(1, 4, 8)), ("s", Range(2, 16, 31))))


@pytest.mark.parametrize(
    "dim",
    [
        7,
        "s",
        "40 - s",
        "s - b",
        "2*s + b",
        "b * (9 - b)",
        "s % 8",
        "max(s, 9) - b",
        "-b + 9",
        "31 // s",
    ],
)
def test_every_size_lies_between(dim: str | int) -> None:
    (low,), (opt,), (high,) = extents(TensorSpec("x", "float32", (dim,)), PROFILE)
    every = [dims.evaluate(dim, {"b": b, "s": s}) for b, s in product(range(1, 9), range(2, 32))]
    assert (low, high) == (min(every), max(every))
    assert opt == dims.evaluate(dim, {"b": 4, "s": 16})


def test_of_too_many_sizes_the_ends_are_tried() -> None:
    wide = Profile("p", (("s", Range(1, 5000, 1_000_000)),))
    assert extents(TensorSpec("x", "float32", ("2000000 - s", "s")), wide) == (
        (1_000_000, 1), (1_995_000, 5000), (1_999_999, 1_000_000),
    )  # fmt: skip
