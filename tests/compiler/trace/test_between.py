"""Whether a program holds at sizes that lie between the profiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from compiler.trace.between import holds_between
from compiler.trace.export import trace
from enginebundle.format.spec import TensorSpec
from tests.compiler.small_models import profile


class Calls(nn.Module):
    def __init__(self, make: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: torch.Tensor) -> Any:
        return self.make(x)


def branch_at_10(x: torch.Tensor) -> torch.Tensor:
    return x * 2 if x.shape[0] < 10 or x.shape[0] > 20 else x + 1


def not_7(x: torch.Tensor) -> torch.Tensor:
    return x + 1 if x.shape[0] == 7 else x * 2


def every_fourth(x: torch.Tensor) -> torch.Tensor:
    return x + 1 if x.shape[0] % 4 == 3 else x


APART = ({"b": (2, 3, 6)}, {"b": (24, 28, 30)})
TWO = ({"b": (1, 2, 4), "s": (1, 4, 8)}, {"b": (2, 2, 8), "s": (8, 16, 32)})


@pytest.mark.parametrize(
    ("make", "ranges", "holds"),
    [
        (lambda x: x.relu() + 1, APART, True),
        (lambda x: x.relu() + 1, TWO, True),  # combinations of the two symbols
        (lambda x: torch.cat([x, x]).sum(0), ({"b": (1, 1, 1)}, {"b": (8, 8, 8)}), True),
        (lambda x: x.relu() + 1, (APART[0],), False),  # nothing lies between
        (lambda x: x.relu() + 1, ({"b": (1, 2, 9)}, {"b": (2, 3, 4)}), False),  # nor here
        (branch_at_10, APART, False),
        (not_7, APART, False),
        (not_7, ({"b": (2, 2, 3)}, {"b": (5, 5, 6)}), True),  # 7 lies beyond
        (every_fourth, ({"b": (4, 4, 4)}, {"b": (12, 12, 12)}), False),
    ],
)
def test_a_program_holds_between_the_profiles_if_what_torch_assumed_does(
    make: Callable[[torch.Tensor], Any], ranges: tuple[dict[str, Any], ...], holds: bool
) -> None:
    shape = ("b", "s") if "s" in ranges[0] else ("b", 3)
    inputs = (TensorSpec("x", "float32", shape),)
    profiles = tuple(profile(f"p{n}", **one) for n, one in enumerate(ranges))
    exported = trace(Calls(make), inputs, profiles)
    assert holds_between(exported, inputs, profiles) is holds
