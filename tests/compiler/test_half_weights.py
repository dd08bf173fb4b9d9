"""Models whose weights are half precision already, compiled under the default precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compiler.convert.library import REGISTRY
from compiler.goldens.goldens import GoldenSource, make_goldens
from compiler.goldens.tolerance import TABLE, computed, magnitude
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.pipeline import BuildRequest, build_program
from compiler.trace.export import trace
from enginebundle.format.spec import Target
from tests.compiler.small_models import profile, spec


class Deep(nn.Module):
    """Layers that each round to `dtype`; float32 goes in and comes out."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.dtype = dtype
        self.layers = nn.Sequential(*(nn.Linear(32, 32) for _ in range(12))).to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.to(self.dtype)
        for layer in self.layers:
            y = y + torch.tanh(layer(y))
        return y.float()


@pytest.mark.parametrize("target", ["torch:cpu", "rtx:sm_89"])
@pytest.mark.parametrize(
    ("dtype", "row"), [(torch.bfloat16, "bf16"), (torch.float16, "fp16"), (torch.float32, "fp32")]
)
def test_a_model_is_held_to_the_precision_of_its_weights(
    target: str, dtype: torch.dtype, row: str
) -> None:
    inputs, profiles = (spec("x", "float32", "b", 32),), (profile(b=(1, 4, 16)),)
    model = Deep(dtype).eval()
    goldens = make_goldens(model, GoldenSource(seed=0), inputs, profiles)
    program = capture(lower(trace(model, inputs, profiles), REGISTRY.ops()), inputs)
    assert computed("fp32", program.graph) == row
    built = build_program(program, BuildRequest(Target.parse(target), profiles), goldens)
    assert built.evaluated is not None
    assert built.evaluated.worst <= 1
    ((_, bound),) = built.tolerances
    (name,) = goldens[0].outputs
    sizes = sorted(magnitude(case.outputs[name]) for case in goldens)
    want = TABLE[target.partition(":")[0]][row].scale * sizes[len(sizes) // 2]
    assert bound.atol == pytest.approx(want, rel=0.1)
