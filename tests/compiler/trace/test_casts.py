"""A module that casts itself in forward, to what it is already."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compiler.trace.export import TraceRefused, trace
from tests.compiler.small_models import profile, spec

INPUTS, SIZES = (spec("x", "float32", "b", 4),), (profile(b=(1, 2, 5)),)


class Router(nn.Module):
    def __init__(self, dtype: torch.dtype, whole: bool) -> None:
        super().__init__()
        self.gate, self.dtype, self.whole = (
            nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)),
            dtype,
            whole,
        )

    def forward(self, x: Tensor) -> Tensor:
        self.gate = self.gate.to(self.dtype) if self.whole else self.gate.to(dtype=self.dtype)
        return self.gate(x.to(self.dtype)).softmax(-1)


@pytest.mark.parametrize("whole", [True, False])
def test_a_cast_that_changes_nothing(whole: bool) -> None:
    own = nn.Module.to
    model = Router(torch.float32, whole).eval()
    module = trace(model, INPUTS, SIZES).module()
    assert nn.Module.to is own
    for b in range(1, 6):
        x = torch.randn(b, 4)
        torch.testing.assert_close(module(x=x), model(x))


def test_a_cast_that_changes_something_is_refused() -> None:
    with pytest.raises(TraceRefused):
        trace(Router(torch.float64, True).eval(), INPUTS, SIZES)
