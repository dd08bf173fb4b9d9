"""Sizes stay short, and mean the same at every size of the profile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.fx.experimental.sym_node import SymNode
from torch.nn import functional

from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.trace.export import trace, trace_recorded
from enginebundle.format import dims
from enginebundle.format.spec import Profile, Range, TensorSpec

Network = Callable[[torch.Tensor], torch.Tensor]
LOW, HIGH = 33, 96


class Function(nn.Module):
    def __init__(self, function: Network, layers: int) -> None:
        super().__init__()
        self.function, self.layers = function, layers

    def forward(self, x):
        for _ in range(self.layers):
            x = self.function(x)
        return x


def same(x: torch.Tensor, window: int = 3, stride: int = 2) -> torch.Tensor:
    """As TensorFlow pads: timm's tf_efficientnet, its MobileNets and Inception."""
    steps = x.shape[-1]
    more = max((-(-steps // stride) - 1) * stride + window - steps, 0)
    return functional.avg_pool1d(
        functional.pad(x, (more // 2, more - more // 2)), window, stride, ceil_mode=False
    )


def to_a_multiple(x: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool1d(functional.pad(x, (0, -x.shape[-1] % 4)), 2, 2)


def up_and_down(x: torch.Tensor) -> torch.Tensor:
    wide = functional.interpolate(x, scale_factor=2.0)
    return functional.avg_pool1d(wide, 5, 3, padding=2)[..., : (x.shape[-1] + 1) // 2]


def overlapping(x: torch.Tensor) -> torch.Tensor:
    return x.unfold(-1, 4, 2).mean(-1)


@pytest.mark.parametrize(
    ("function", "layers"),
    [(same, 5), (lambda x: same(x, 4, 3), 3), (to_a_multiple, 4), (up_and_down, 3), (overlapping, 3)],
    ids=["same", "stride 3", "multiple", "up and down", "overlapping"],
)  # fmt: skip
def test_sizes_stay_short_and_right(function: Network, layers: int) -> None:
    inputs = (TensorSpec("x", "float32", (1, 2, "n")),)
    profiles = (Profile("p", (("n", Range(LOW, 64, HIGH)),)),)
    model = Function(function, layers)
    exported = trace(model, inputs, profiles)
    module, graph = exported.module(), capture(lower(exported), inputs).graph
    size = str(graph.outputs[0].shape[-1])
    assert len(size) < 40
    for n in range(LOW, HIGH + 1):
        x = torch.randn(1, 2, n)
        want = model(x)
        torch.testing.assert_close(module(x=x), want)
        assert dims.evaluate(size, {"n": n}) == want.shape[-1]


def test_sizes_stay_short_where_torch_refuses_a_named_size() -> None:
    """The assertion holds at every size, but torch can't prove it. Three layers' size would be 567 letters long."""

    def asserted(x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] ** 3 % 9 == 4:  # cubes leave 0, 1 or 8
            raise ValueError("no such size")
        return same(x)

    inputs = (TensorSpec("x", "float32", (1, 2, "n")),)
    model = Function(asserted, 3)
    exported, _, rung = trace_recorded(
        model, inputs, (Profile("p", (("n", Range(LOW, 64, HIGH)),)),)
    )
    assert rung == "auto"
    size = str(capture(lower(exported), inputs).graph.outputs[0].shape[-1])
    assert len(size) < 40
    module = exported.module(check_guards=False)
    for n in range(LOW, HIGH + 1, 3):
        x = torch.randn(inputs[0].sizes({"n": n}))
        want = model(x)
        torch.testing.assert_close(module(x=x), want)
        assert dims.evaluate(size, {"n": n}) == want.shape[-1]


def test_nothing_stays_behind() -> None:
    own = SymNode.__init__
    trace(Function(same, 1), (TensorSpec("x", "float32", (1, 2, "n")),),
          (Profile("p", (("n", Range(LOW, 64, HIGH)),)),))  # fmt: skip
    assert SymNode.__init__ is own
