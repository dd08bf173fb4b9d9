"""A fixed share of the random programs. `make fuzz` judges thousands; `--gpu` executes them."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from tests.fuzz.judge import Results, Verdict, cut_down, difference, judge
from tests.fuzz.programs import RandomProgram, program

SHARE = 8
"""How many programs a test judges: enough to keep processes busy, few enough to show which failed."""


@pytest.mark.parametrize("first", range(0, 96, SHARE))
def test_programs_give_what_they_give_in_double_precision(first: int) -> None:
    verdicts = [judge(program(number)) for number in range(first, first + SHARE)]
    wrong = [v for v in verdicts if v.state not in ("right", "refused")]
    assert not wrong, wrong
    assert sum(v.state == "right" for v in verdicts) >= SHARE - 3


def test_a_number_makes_the_same_program_again() -> None:
    for number in (3, 40, 318):
        assert program(number).text == program(number).text
        assert program(number).shapes == program(number).shapes


def test_programs_differ_and_some_have_a_dynamic_size() -> None:
    made = [program(number) for number in range(60)]
    assert len({one.text for one in made}) > 50
    assert 10 < sum(one.dynamic for one in made) < 30


def test_an_engine_that_is_off_is_found() -> None:
    one = program(318)

    def answer(engine: bytes, feeds: Results) -> Results:
        results = one.module(*feeds.values())
        return {f"output_{i}": 1.01 * y for i, y in enumerate(results)}

    verdict = judge(one, answer)
    assert verdict.state == "wrong"
    assert verdict.reason.startswith("engine: output_0")
    assert "log_softmax" in verdict.text


def test_a_wrong_program_is_cut_down_to_what_is_wrong() -> None:
    one = program(318)

    def judged(given: RandomProgram) -> Verdict:
        state: Literal["right", "wrong"] = "wrong" if "log_softmax" in given.text else "right"
        return Verdict(given.id, state, text=given.text)

    left = cut_down(one, judged)
    assert left.state == "wrong"
    calls = [line for line in left.text.splitlines() if " = " in line]
    assert len(calls) == 1 < len([line for line in one.text.splitlines() if " = " in line])
    assert "log_softmax" in calls[0]


def test_a_nan_and_another_shape_are_differences() -> None:
    exact = torch.ones(2, dtype=torch.float64)
    answer = {"y": (exact, torch.full((2,), 1e-3, dtype=torch.float64))}
    assert not difference({"y": torch.tensor([1.0, 1.0005])}, answer)
    assert difference({"y": torch.tensor([1.0, torch.nan])}, answer)
    assert difference({"y": torch.ones(3)}, answer)
