"""The inputs of a call: names, dtypes, sizes, and the tightest profile."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enginebundle.errors import InputError
from enginebundle.format.spec import Profile, Range, TensorSpec
from enginebundle.serve.dispatch import bind, choose, tensors_of

IDS = TensorSpec("ids", "int64", ("b", "s"))
MASK = TensorSpec("mask", "int64", ("b", "s", 1))


def profile(name: str, b: tuple[int, int, int], s: tuple[int, int, int]) -> Profile:
    return Profile(name, (("b", Range(*b)), ("s", Range(*s))))


SHORT = profile("short", (1, 4, 8), (8, 32, 64))
LONG = profile("long", (1, 8, 32), (32, 128, 256))


def test_torch_and_numpy_are_taken_as_they_are() -> None:
    array = np.zeros((2, 3), dtype=np.int64)
    mask = torch.zeros(2, 3, 1, dtype=torch.int64)
    taken = tensors_of((IDS, MASK), {"ids": array, "mask": mask})
    array[0, 0] = 7
    assert taken["ids"][0, 0] == 7
    assert taken["mask"].data_ptr() == mask.data_ptr()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3)[:, ::-1],
        np.arange(6).reshape(3, 2).T,
        np.arange(6).reshape(2, 3).astype(">i8"),
        np.broadcast_to(np.int64(3), (2, 3)),
    ],
)
def test_odd_numpy_layouts_are_copied(array: np.ndarray) -> None:  # type: ignore[type-arg]
    assert tensors_of((IDS,), {"ids": array})["ids"].tolist() == array.tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"expected the inputs \['ids'\]; missing \['ids'\], unknown \[\]"),
        ({"ids": torch.zeros(1), "idz": 1}, r"missing \[\], unknown \['idz'\]"),
        ({"ids": torch.zeros(2, 3)}, r"'ids': expected int64, got float32; convert it first"),
        ({"ids": [[1]]}, "expected a torch tensor or NumPy array, got list"),
        ({"ids": np.array([["a"]])}, "NumPy dtype <U1"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tensors_of((IDS,), given)


def test_symbols_are_read_from_the_shapes() -> None:
    assert bind((IDS, MASK), {"ids": (2, 9), "mask": (2, 9, 1)}) == {"b": 2, "s": 9}
    doubled = TensorSpec("pairs", "int64", ("2*b", "max(s, 4)"))
    assert bind((doubled, IDS), {"pairs": (4, 9), "ids": (2, 9)}) == {"b": 2, "s": 9}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            {"ids": (2,), "mask": (2, 9, 1)},
            r"'ids': expected 2 dimensions \[b, s\], got shape \[2\]",
        ),
        (
            {"ids": (2, 9), "mask": (3, 9, 1)},
            "dimension 0 is 'b', which is 2 in input 'ids', but got 3",
        ),
        ({"ids": (2, 9), "mask": (2, 9, 4)}, r"'mask': expected 1 as dimension 2 of \[b, s, 1\]"),
    ],
)
def test_shapes_that_disagree_are_refused(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        bind((IDS, MASK), shapes)


@pytest.mark.parametrize(
    ("b", "s", "name"), [(1, 8, "short"), (4, 40, "short"), (9, 40, "long"), (8, 65, "long")]
)
def test_the_tightest_profile_that_contains_the_sizes(b: int, s: int, name: str) -> None:
    for order in ((SHORT, LONG), (LONG, SHORT)):
        assert choose(order, {"b": b, "s": s}).name == name


def test_of_equally_wide_profiles_the_nearest_optimum() -> None:
    small, large = profile("a", (1, 2, 16), (1, 1, 1)), profile("b", (1, 14, 16), (1, 1, 1))
    assert choose((small, large), {"b": 12, "s": 1}).name == "b"


def test_outside_every_profile_says_why_for_each() -> None:
    with pytest.raises(InputError) as caught:
        choose((SHORT, LONG), {"b": 40, "s": 7})
    assert str(caught.value) == (
        "no profile contains b=40, s=7 (short: b must be 1 to 8, got 40, s must be 8 to 64, got 7; "
        "long: b must be 1 to 32, got 40, s must be 32 to 256, got 7). "
        "Pad, split or crop the input, or build a profile for it"
    )


def test_a_profile_without_symbols_fits_everything() -> None:
    assert choose((Profile("fixed", ()),), {}).name == "fixed"
