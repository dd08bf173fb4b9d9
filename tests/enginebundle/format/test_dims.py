"""Dimensions: what an expression is worth, what it is made of, and what is no dimension."""

from __future__ import annotations

import pytest

from enginebundle.errors import FormatError
from enginebundle.format.dims import check, evaluate, symbols_of


@pytest.mark.parametrize(
    ("dim", "value"),
    [
        (5, 5),
        ("7", 7),
        ("s", 10),
        ("-s", -10),
        ("s + t", 13),
        ("s - t", 7),
        ("s * t", 30),
        ("s // t", 3),
        ("s % t", 1),
        ("2*s + 1", 21),
        ("s - (t - 1)", 8),
        ("-s // t", -4),
        ("max(s, t)", 10),
        ("min(s, t)", 3),
        ("max(t)", 3),
        ("max(1, s, t)", 10),
        ("min(s, max(t, 4)) + 1", 5),
        ("-(s // (t + 1)) * 2", -4),
    ],
)
def test_an_expression_has_pythons_value(dim: int | str, value: int) -> None:
    assert evaluate(dim, {"s": 10, "t": 3}) == value


@pytest.mark.parametrize(
    ("dim", "symbols"),
    [
        (5, set()),
        ("5", set()),
        ("s", {"s"}),
        ("2*s + t // s", {"s", "t"}),
        ("max(s, min(t, 4))", {"s", "t"}),
    ],
)
def test_the_symbols_are_the_names_that_are_no_functions(dim: int | str, symbols: set[str]) -> None:
    assert symbols_of(dim) == symbols


@pytest.mark.parametrize(
    "dim",
    [
        "",
        "s +",
        "s\0",
        "s; t",
        "s / 2",
        "s ** 2",
        "+s",
        "~s",
        "not s",
        "True",
        "1.0",
        "'1'",
        "None",
        "s.real",
        "s[0]",
        "s < t",
        "s if s else t",
        "abs(s)",
        "max()",
        "max(s, key=t)",
        "max(*s)",
        "s.max(1)",
        "__import__('os')",
        "(lambda: 1)()",
    ],
)
def test_what_the_grammar_lacks_is_refused(dim: str) -> None:
    with pytest.raises(FormatError, match=r"^dimension ") as caught:
        check(dim)
    assert repr(dim) in str(caught.value)


def test_what_is_in_the_grammar_passes() -> None:
    check(0)
    check("max(1, 2*s - t) // 3 % -u")


@pytest.mark.parametrize("dim", ["t", "-t", "s + t", "t + s", "max(s, t)", "-(s // (2 - t))"])
def test_a_symbol_without_a_value_is_named_with_its_expression(dim: str) -> None:
    with pytest.raises(FormatError) as caught:
        evaluate(dim, {"s": 1})
    assert repr(dim) in str(caught.value)
    assert "'t'" in str(caught.value)


@pytest.mark.parametrize("dim", ["s // t", "s % t", "1 // 0"])
def test_division_by_zero_is_refused(dim: str) -> None:
    with pytest.raises(FormatError, match=f"{dim}.* zero"):
        evaluate(dim, {"s": 1, "t": 0})


def test_an_expression_is_at_most_1000_characters_long() -> None:
    assert evaluate("7".ljust(1000), {}) == 7
    with pytest.raises(FormatError, match="1001 characters"):
        evaluate("7".ljust(1001), {})


def test_an_expression_is_at_most_100_levels_deep() -> None:
    assert evaluate("-" * 98 + "1", {}) == 1
    assert evaluate("-" * 99 + "1", {}) == -1
    with pytest.raises(FormatError, match="100 levels"):
        evaluate("-" * 100 + "1", {})
