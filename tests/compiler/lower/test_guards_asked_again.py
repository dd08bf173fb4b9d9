"""Decomposing asks a program's guards again: that narrows no size to the example's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import SYMPY_INTERP

from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.program import run
from compiler.trace.export import trace
from enginebundle.format.spec import TensorSpec
from tests.compiler.small_models import profile

INPUTS = (TensorSpec("x", "float32", ("n", 3)),)


class Rows(nn.Module):
    """Torch can't prove that there are so many rows, so it asks, and keeps the question as a guard."""

    def __init__(self, count: Callable[[Any], Any]) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x[: self.count(x.shape[0])].sum(0)


@pytest.mark.parametrize(
    "count",
    [
        lambda n: 2 ** math.floor(math.log2(n)),
        lambda n: torch.sym_min(n // 4, 1) + 1,
        lambda n: torch.sym_max(n - 8, 2),
        lambda n: torch.sym_min(n // 3, torch.sym_max(n // 5, 1)) + 1,
    ],
    ids=["power of two", "the smaller", "the larger", "both"],
)
def test_right_at_every_size(count: Callable[[Any], Any]) -> None:
    model = Rows(count)
    before = SYMPY_INTERP.copy()
    program = capture(lower(trace(model, INPUTS, (profile(n=(2, 5, 30)),))), INPUTS)
    assert before == SYMPY_INTERP
    for n in range(2, 31):
        x = torch.randn(n, 3)
        torch.testing.assert_close(run(program, {"x": x})["output"], model(x))
