"""Symbols' values from the sizes of a call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebundle.errors import FormatError
from enginebundle.format.dims import evaluate
from enginebundle.format.solve import solve, unsolvable


@pytest.mark.parametrize(
    ("dims", "values"),
    [
        (("2*n + 1",), {"n": 7}),
        (("n - 1",), {"n": 1}),
        (("40 - s",), {"s": 33}),
        (("b", 3, "32*h", "32*w"), {"b": 2, "h": 7, "w": 5}),
        (("b*h", "b"), {"b": 3, "h": 4}),
        (("a + b", "b + c", "c"), {"a": 1, "b": 5, "c": 2}),
        (("(2*h)//2 - -1",), {"h": 6}),
        (("(4*h + 6)//2",), {"h": 6}),
        (("h//2", "h"), {"h": 7}),
        (("max(n, 4)", "3*(n + n) - n"), {"n": 2}),
        (("n", "n % 4"), {"n": 6}),
        (("-(1 - n)*2",), {"n": 6}),
        (("h//2", "h%2"), {"h": 7}),
        (("h//2", "h - h//2"), {"h": 7}),
        (("h//2", "(h + 1)//2", "b"), {"h": 0, "b": 4}),
        (("(3*h)//2",), {"h": 5}),
        (("n - n//4", "n % 4"), {"n": 9}),
        (("h//4", "h%2", "(h//2)%2"), {"h": 11}),
        (("-(-h//3)", "h%3"), {"h": 7}),
        (("h//2", "h%2", "h*w"), {"h": 7, "w": 3}),
    ],
)
def test_lines_are_solved(dims: tuple[int | str, ...], values: dict[str, int]) -> None:
    assert solve([(dim, evaluate(dim, values)) for dim in dims]) == values
    assert not unsolvable(dims)


@pytest.mark.parametrize(
    ("dims", "left"),
    [
        (("h//2",), {"h"}),
        (("(2*h + 1)//2", "n"), set()),
        (("h//2", "h//3"), {"h"}),
        (("h//2", "2*(h//2) + 1"), {"h"}),
        (("h//4", "h%2"), {"h"}),
        (("(3*h)//4",), {"h"}),
        (("(b*h)//2", "h%2"), {"b", "h"}),
        (("h//2", "max(h, 8)"), {"h"}),
        (("h//2", "w*h"), {"h", "w"}),
        (("h//2048", "h%2048"), {"h"}),
        (("n % 4",), {"n"}),
        (("n*n",), {"n"}),
        (("a + b", "b"), set()),
        (("a + b", "a - b"), {"a", "b"}),
        (("max(n, 4)",), {"n"}),
        (("n - n",), {"n"}),
        (("1//n",), {"n"}),
        (("0*n", 4), {"n"}),
    ],
)
def test_what_no_size_tells(dims: tuple[int | str, ...], left: set[str]) -> None:
    assert unsolvable(dims) == left


def test_a_size_that_no_number_gives() -> None:
    with pytest.raises(FormatError, match=r"no n gives '2\*n \+ 1' the size 8"):
        solve([("2*n + 1", 8)])


@pytest.mark.parametrize(
    "dims",
    [
        ("h//2", "h%2"),
        ("h//2", "h - h//2"),
        ("(3*h)//2",),
        ("(5*h + 1)//4",),
        ("h//4", "h%2", "(h//2)%2"),
    ],
)
def test_every_number_is_told(dims: tuple[str, ...]) -> None:
    assert not unsolvable(dims)
    for number in range(50):
        values = {"h": number}
        assert solve([(dim, evaluate(dim, values)) for dim in dims]) == values


def test_sizes_that_contradict_each_other() -> None:
    with pytest.raises(FormatError, match=r"no h gives 'h//2' the size 3, 'h%2' the size 2"):
        solve([("h//2", 3), ("h%2", 2)])


NAMES = st.sampled_from(["n", "m"])
NUMBERS = st.integers(-5, 5).map(lambda n: f"({n})")
EXPRESSIONS = st.recursive(
    NAMES | NUMBERS,
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%"]), inner).map(
        lambda parts: f"({' '.join(parts)})"
    ),
    max_leaves=6,
)


@given(st.lists(EXPRESSIONS, min_size=1, max_size=3), st.integers(1, 50), st.integers(1, 50))
def test_what_is_solved_is_right(dims: list[str], n: int, m: int) -> None:
    values = {"n": n, "m": m}
    try:
        sizes = [(dim, evaluate(dim, values)) for dim in dims]
    except FormatError:
        return  # divides by zero
    found = solve(sizes)
    assert found == {name: values[name] for name in found}
