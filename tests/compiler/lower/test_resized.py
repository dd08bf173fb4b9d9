"""A tensor that forward made and resized holds the same numbers in order."""

from __future__ import annotations

import pytest
import torch

from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.program import run
from compiler.trace.export import trace
from enginebundle.format.spec import Profile, TensorSpec
from enginebundle.runtimes.torch_ops import ALLOWED


@pytest.mark.parametrize("size", [(6,), (4, 6), (2, 5), (1,), (3, 9)])
def test_its_numbers_keep_their_order(size: tuple[int, ...]) -> None:
    class Resizes(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * 2).resize_(*size)

    inputs = (TensorSpec("x", "float32", (4, 6)),)
    made = capture(lower(trace(Resizes(), inputs, (Profile("p", ()),))), inputs)
    assert {node.op for node in made.graph.nodes} <= ALLOWED
    x = torch.randn(4, 6)
    got = run(made, {"x": x})["output"]
    known = min(24, got.numel())
    assert got.shape == size
    assert torch.equal(got.reshape(-1)[:known], (x * 2).reshape(-1)[:known])
    assert (got.reshape(-1)[known:] == 0).all()
