"""A branch on sizes that changes nothing is no reason to refuse; one that does is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compiler.build.evaluated import evaluate_partition
from compiler.convert.library import REGISTRY
from compiler.goldens.goldens import GoldenCase
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.pipeline import BuildRequest, convert_program
from compiler.trace.export import TraceRefused, trace
from enginebundle.format.spec import Target
from tests.compiler.small_models import profile, spec

INPUTS = (spec("x", "float32", "b", "s", 4),)
SIZES = profile(b=(1, 2, 3), s=(2, 6, 21))


class Model(nn.Module):
    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function, self.layer = function, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer, x)


def _padded(x: Tensor, window: int) -> tuple[Tensor, int]:
    more = -x.shape[1] % window
    return functional.pad(x, (0, 0, 0, more)), more


def cut_back(layer: nn.Module, x: Tensor) -> Tensor:
    """As Mamba2's chunks and Swin's windows."""
    padded, more = _padded(x, 4)
    result = layer(padded.reshape(x.shape[0], -1, 4, 4)).softmax(2).reshape(x.shape[0], -1, 4)
    return result[:, : x.shape[1]] if more > 0 else result


def cut_back_by_lengths(layer: nn.Module, x: Tensor) -> Tensor:
    """As Mimi's sound."""
    padded, _ = _padded(layer(x), 3)
    result = padded.unflatten(1, (-1, 3)).cumsum(2).flatten(1, 2)
    if x.shape[1] < result.shape[1]:
        result = result[:, : x.shape[1]]
    return result


def padded_if_needed(layer: nn.Module, x: Tensor) -> Tensor:
    more = -x.shape[1] % 4
    if more:
        x = functional.pad(x, (0, 0, 0, more))
    return layer(x).reshape(x.shape[0], -1, 4, 4).amax(2)


def twice(layer: nn.Module, x: Tensor) -> Tensor:
    return cut_back(layer, cut_back(layer, x))


@pytest.mark.parametrize("function", [cut_back, cut_back_by_lengths, padded_if_needed, twice])
def test_right_at_every_size(function: Callable[[nn.Module, Tensor], Tensor]) -> None:
    model = Model(function)
    program = capture(lower(trace(model, INPUTS, (SIZES,)), REGISTRY.ops()), INPUTS)
    found = convert_program(program, BuildRequest(Target.parse("rtx:sm_89"), (SIZES,), min_nodes=1))
    assert [segment.kind for segment in found.parts.segments] == ["engine"]
    (out,) = (output.name for output in program.graph.outputs)
    goldens = []
    for s in range(2, 22):
        x = torch.randn(1 + s % 3, s, 4)
        goldens.append(GoldenCase(f"s{s}", {"x": x}, {out: model(x).detach()}))
    evaluate_partition(program, found.parts, found.networks, goldens, "fp32", {})


@pytest.mark.parametrize(
    "function",
    [
        # Each differs at some sizes, though hardly or for few numbers.
        lambda layer, x: layer(x).clamp(max=50.0) if x.shape[1] % 4 else layer(x),
        lambda layer, x: layer(x) * 1.0000001 if x.shape[1] % 4 else layer(x),
        lambda layer, x: functional.pad(layer(x), (0, 0, 0, 4 - x.shape[1] % 4)) if x.shape[1] % 4 else layer(x)[:, 1:],
        lambda layer, x: layer(x)[:, 1:] if x.shape[1] % 4 else layer(x),
        lambda layer, x: layer(x.flip(1)) if x.shape[1] % 4 else layer(x),
        lambda layer, x: layer(x)[:, :8] if x.shape[1] > 9 else layer(x),
    ],
    ids=["a clamp out of reach", "a scale", "a pad", "a cut", "an order", "a cut from 9 on"],
)  # fmt: skip
def test_a_branch_that_changes_something_is_refused(
    function: Callable[[nn.Module, Tensor], Tensor],
) -> None:
    with pytest.raises(TraceRefused) as caught:
        trace(Model(function), INPUTS, (SIZES,))
    assert caught.value.code == "guard"
