"""A fixed share of the compositions; `make fuzz` judges 2,000."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from tests.fuzz import blocks, compositions
from tests.fuzz.compositions import Composition, Verdict, judge

SHARE = 6
"""How many a test judges: enough to keep processes busy, few enough to show which failed."""


@pytest.mark.parametrize("first", range(0, 36, SHARE))
def test_compositions_give_what_eager_torch_gives(first: int) -> None:
    verdicts = [judge(Composition(n, n % 12 == 0)) for n in range(first, first + SHARE)]
    bad = [v for v in verdicts if v.state not in ("whole", "parts", "refused")]
    assert not bad, bad
    assert sum(v.state == "whole" for v in verdicts) >= SHARE - 2


def test_a_number_makes_the_same_composition_again() -> None:
    one, two = Composition(5), Composition(5)
    assert one.text == two.text
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, two.model.state_dict()[name])


def test_they_differ_and_each_block_is_used() -> None:
    made = [Composition(n) for n in range(300)]
    assert len({one.text for one in made}) > 290
    assert len({tuple(one.profile.ranges) for one in made}) == 4
    used = {type(block) for one in made for block in one.model.blocks}
    assert {type(make()) for make in (*blocks.BLOCKS, *blocks.SHARING)} == used


@pytest.mark.parametrize("make", [*blocks.BLOCKS, *blocks.SHARING])
def test_each_block_keeps_the_shape(make: Any) -> None:
    block = make().eval()
    count = 2 if make in blocks.SHARING else 1
    for shape in ((1, 2, blocks.WIDTH), (3, 9, blocks.WIDTH)):
        with torch.no_grad():
            assert block(*(torch.randn(shape) for _ in range(count))).shape == shape


class Off(nn.Module):
    """Other numbers while it is exported than in eager torch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (1.01 if torch.compiler.is_compiling() else 1.0)


class Fails(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, :3] @ x


def verdicts(
    monkeypatch: pytest.MonkeyPatch, chosen: Sequence[type[nn.Module]], count: int
) -> list[Verdict]:
    monkeypatch.setattr(compositions, "BLOCKS", tuple(chosen))
    monkeypatch.setattr(compositions, "SHARING", tuple(blocks.SHARING[-1:]))
    return [judge(Composition(n)) for n in range(count)]


def test_what_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [v for v in verdicts(monkeypatch, [Off], 6) if v.state == "wrong"]
    assert found
    assert all("Off" in v.text for v in found)


def test_what_is_refused_has_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    (found, *_) = verdicts(monkeypatch, [Fails], 1)
    assert (found.state, found.reason.partition(":")[0]) == ("refused", "forward")
