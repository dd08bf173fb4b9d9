"""Delta debugging finds what can't be spared, and says nothing that was not tried."""

import random

import pytest

from compiler.build.smallest import smallest

THINGS = tuple(f"n{i}" for i in range(40))


@pytest.mark.parametrize("seed", range(20))
def test_any_set_of_culprits(seed: int) -> None:
    draw = random.Random(seed)
    culprits = frozenset(draw.sample(THINGS, draw.randint(1, 5)))
    tried: list[frozenset[str]] = []

    def does(left: frozenset[str]) -> bool:
        tried.append(left)
        return culprits <= left

    assert set(smallest(THINGS, does)) == culprits
    assert len(tried) <= 16 * len(culprits)


def test_either_of_two() -> None:
    found = smallest(THINGS, lambda left: "n3" in left or "n30" in left)
    assert found in (("n3",), ("n30",))


def test_order_is_kept() -> None:
    assert smallest(THINGS, lambda left: {"n30", "n3"} <= left) == ("n3", "n30")


def test_giving_up_leaves_what_was_seen_to_do() -> None:
    answers = iter([False, True])
    found = smallest(THINGS, lambda left: next(answers, False))
    assert found == THINGS[:20]


def test_nothing_less_than_all_will_do() -> None:
    assert smallest(THINGS, lambda left: False) == THINGS
    assert smallest(("n0",), lambda left: True) == ("n0",)
