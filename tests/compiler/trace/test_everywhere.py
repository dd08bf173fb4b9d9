"""Conditions on sizes, held against every size of a profile."""

from __future__ import annotations

import warnings

import pytest
import sympy
from sympy import Eq, Ge, Gt, Le, Lt, Ne
from torch.utils._sympy.functions import (
    CeilToInt,
    CleanDiv,
    FloorDiv,
    FloorToInt,
    Identity,
    IntTrueDiv,
    Max,
    Min,
    Mod,
    RoundToInt,
    TruncToInt,
)

from compiler.trace import everywhere
from compiler.trace.everywhere import MOST, Undecided, counterexamples, sizes_that_hold
from enginebundle.format.spec import Profile, Range

S, T = sympy.symbols("s t", integer=True, positive=True)


def sizes(**ranges: tuple[int, int]) -> Profile:
    return Profile("p", tuple((name, Range(a, a, b)) for name, (a, b) in ranges.items()))


@pytest.mark.parametrize(
    ("condition", "broken"),
    [
        (Ge(S, 2), []),
        (Gt(S, 2), [{"s": 2}]),
        (Lt(S, 5), [{"s": 5}, {"s": 9}]),
        (Le(S, 8), [{"s": 9}]),
        (Ne(S, 9), [{"s": 9}]),
        (Eq(S, 2), [{"s": 3}, {"s": 9}]),
        (Eq(Mod(S, 2), 0), [{"s": 3}, {"s": 9}]),
        (Ne(FloorDiv(S, 4), 1), [{"s": 4}, {"s": 7}]),
        (Ne(CleanDiv(S, 1), 4), [{"s": 4}]),
        (Lt(Max(S, 4), 6), [{"s": 6}, {"s": 9}]),
        (Gt(Min(S, 4), 3), [{"s": 2}, {"s": 3}]),
        (Lt(sympy.Max(S, 4, 7), 8), [{"s": 8}, {"s": 9}]),
        (Ne(S**2 + S, 30), [{"s": 5}]),
        (Ne(Identity(S), 5), [{"s": 5}]),
        (Lt(IntTrueDiv(S, 4), 2), [{"s": 8}, {"s": 9}]),
        (Lt(CeilToInt(IntTrueDiv(S, 4)), 3), [{"s": 9}]),
        (Lt(TruncToInt(IntTrueDiv(S, 4)), 2), [{"s": 8}, {"s": 9}]),
        (Lt(RoundToInt(IntTrueDiv(S, 4)), 2), [{"s": 6}, {"s": 9}]),
        (Lt(S * sympy.Float(0.5), 4), [{"s": 8}, {"s": 9}]),
        (sympy.And(Gt(S, 2), Lt(S, 9)), [{"s": 2}, {"s": 9}]),
        (sympy.Or(Lt(S, 4), Gt(S, 5)), [{"s": 4}, {"s": 5}]),
        (sympy.Not(sympy.And(Gt(S, 2), Lt(S, 4))), [{"s": 3}]),
    ],
)
def test_the_first_and_the_last_size_that_break_a_condition(condition, broken):
    assert list(counterexamples(condition, sizes(s=(2, 9)))) == broken


def test_conditions_on_two_sizes_are_tried_at_all_pairs():
    profile = sizes(t=(1, 4), s=(2, 3), other=(1, 1))
    assert counterexamples(Ne(S * T, 6), profile) == ({"s": 2, "t": 3}, {"s": 3, "t": 2})
    assert counterexamples(Lt(S + T, 7), profile) == ({"s": 3, "t": 4},)
    assert counterexamples(Gt(S + T, 2), profile) == ()
    assert counterexamples(Eq(S, T), profile) == ({"s": 2, "t": 1}, {"s": 3, "t": 4})


def test_a_condition_without_sizes_holds_or_not():
    assert counterexamples(sympy.true, sizes(s=(1, 2))) == ()
    assert counterexamples(sympy.false, sizes(s=(1, 2))) == ({},)


@pytest.mark.parametrize("last", [{"s": 2000, "t": 1500}, {"s": 1, "t": 1}, {"s": 667, "t": 1}])
def test_sizes_are_found_wherever_among_millions(last):
    condition = sympy.Not(sympy.And(Eq(S, last["s"]), Eq(T, last["t"])))
    assert counterexamples(condition, sizes(s=(1, 2000), t=(1, 1500))) == (last,)


def test_one_size_more_than_a_chunk_can_hold_is_tried_too():
    many = 1_000_001
    assert counterexamples(Ne(S, many), sizes(s=(1, many))) == ({"s": many},)
    assert counterexamples(Ne(T, many), sizes(s=(1, 2), t=(1, many))) == ({"t": many},)


def test_a_symbol_that_is_no_size_of_an_input_is_undecided():
    u = sympy.symbols("u v")
    with pytest.raises(Undecided, match=r"^u, v is not a size of an input"):
        counterexamples(Gt(S + u[0] + u[1], 2), sizes(s=(1, 2)))


def test_what_has_no_values_is_undecided():
    with pytest.raises(Undecided, match="sin of sizes has no values here"):
        counterexamples(Gt(sympy.sin(S), 0), sizes(s=(1, 2)))


HUGE = sizes(s=(1, 10_000), t=(2, 10_000))


@pytest.mark.parametrize(
    ("condition", "broken"),
    [
        (Gt(S + T, 2), []),
        (Gt(S + T, 3), [{"s": 1, "t": 2}]),
        (Lt(S * T, 10**8), [{"s": 10_000, "t": 10_000}]),
        (Le(S * T, 10**8), []),
        (Gt(S, 1 - T), []),
        (Ge(S, T), [{"s": 1, "t": 2}, {"s": 1, "t": 10_000}]),
        (Le(S * T + 3, 2 * T), [{"s": 1, "t": 2}, {"s": 10_000, "t": 2}]),
        (Ne(S + T, 0), []),
        (Ne(S + T, 20_000), [{"s": 10_000, "t": 10_000}]),
        (Ne(S + T, 10_002), [{"s": 10_000, "t": 2}]),
        (Ne(S + T, 2), []),
        (Ge(S + T, 3), []),
    ],
)
def test_too_many_sizes_are_decided_at_the_corners(condition, broken):
    found = counterexamples(condition, HUGE)
    assert len(found) == min(len(broken), 2)
    assert all(one in found for one in broken)


@pytest.mark.parametrize(
    "condition",
    [
        Ne(S, T + 5000),
        Ne(S + T, 5000),
        Gt(S**2 + T, 3),
        Gt(S + T**2, 6),
        Gt(FloorDiv(S, 2) + T, 3),
        sympy.And(Gt(S, 2), Gt(T, 3)),
    ],
)
def test_what_corners_cannot_decide_is_undecided(condition):
    with pytest.raises(Undecided, match=r"^there are too many sizes to try$"):
        counterexamples(condition, HUGE)


def test_as_many_sizes_as_are_worth_it_are_tried_one_by_one():
    """Corners would leave this undecided."""
    condition = Ne(FloorDiv(S, 2), 0)
    assert counterexamples(condition, sizes(s=(2, 1_000_000))) == ()
    with pytest.raises(Undecided):
        counterexamples(condition, sizes(s=(2, MOST + 2)))


def test_sizes_are_counted_with_both_ends(monkeypatch):
    monkeypatch.setattr(everywhere, "MOST", 100)
    condition = Ne(FloorDiv(S, 2) + T, 7000)
    for first, last in ((2, 101), (60, 100), (1001, 1050)):
        assert counterexamples(condition, sizes(s=(first, last), t=(1, 1))) == ()
    assert counterexamples(condition, sizes(s=(1, 10), t=(1, 10))) == ()
    for s, t in (((2, 102), (1, 1)), ((1, 10), (1, 11))):
        with pytest.raises(Undecided):
            counterexamples(condition, sizes(s=s, t=t))


@pytest.mark.parametrize(
    ("lengths", "chunks"),
    [
        ((), [[]]),
        ((25,), [[10], [10], [5]]),
        ((4, 3), [[3, 3], [1, 3]]),
        ((7, 2, 2), [[2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]),
        ((3, 20), [[1, 20], [1, 20], [1, 20]]),
    ],
)
def test_sizes_are_tried_in_chunks(monkeypatch, lengths, chunks):
    """No chunk has more than CHUNK sizes, unless the other ranges alone have."""
    monkeypatch.setattr(everywhere, "CHUNK", 10)
    found = list(everywhere._chunks([Range(1, 1, length) for length in lengths]))
    assert [[len(axis) for axis in axes] for axes in found] == chunks
    first = [size for axes in found for size in axes[0]] if lengths else []
    assert first == list(range(1, len(first) + 1))


@pytest.mark.parametrize("rounded", [TruncToInt, CeilToInt, FloorToInt, RoundToInt])
def test_what_was_rounded_is_whole_and_exact_beyond_what_a_float_holds(rounded):
    odd = 2**53 + 1
    condition = Eq(Mod(rounded(IntTrueDiv(S, 4)) * odd, 2), 0)
    assert counterexamples(condition, sizes(s=(4, 4))) == ({"s": 4},)
    assert counterexamples(condition, sizes(s=(8, 8))) == ()


@pytest.mark.parametrize("top", [S, S - 1])
def test_a_division_by_zero_is_no_warning(top):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = counterexamples(Lt(IntTrueDiv(top, T - 1), 5), sizes(s=(1, 1), t=(1, 2)))
    assert found == ({"s": 1, "t": 1},)


def test_the_sizes_at_which_a_condition_holds():
    assert sizes_that_hold(Eq(Mod(S, 4), 0), "s", Range(3, 4, 12)) == [4, 8, 12]
    assert sizes_that_hold(Gt(S, 12), "s", Range(3, 4, 12)) == []
    assert sizes_that_hold(sympy.true, "s", Range(3, 4, 5)) == [3, 4, 5]
    assert sizes_that_hold(Eq(S, 3), "s", Range(3, 4, 5)) == [3]
