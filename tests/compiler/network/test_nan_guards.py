"""Max pooling behind a ReLU, for a TensorRT whose ReLU gives no NaN: one layer, and the same numbers."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from compiler.build.networks import BuildRequest
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.network.evaluate import evaluate
from compiler.network.network import Network
from compiler.network.older import fitted
from compiler.pipeline import convert_program
from compiler.trace.export import trace
from enginebundle.format.spec import Target, TensorSpec
from tests.compiler.small_models import profile


def module(name: str) -> Any:
    """A TensorRT that lacks no layer."""
    had = {
        "add_attention_v2",
        "add_cumulative",
        "add_squeeze",
        "add_unsqueeze",
        "add_normalization_v2",
    }
    return SimpleNamespace(__name__=name, INetworkDefinition=type("D", (), dict.fromkeys(had)))


class Stem(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if self.kind in ("relu", "relu, twice pooled"):
            x = x.relu()
        if self.kind == "gelu":
            x = nn.functional.gelu(x)
        if self.kind == "sum":
            x = x.relu() + x
        found = nn.functional.max_pool2d(x, 3, 2, 1)
        return nn.functional.max_pool2d(found, 2) if self.kind == "relu, twice pooled" else found


def network_of(kind: str, half: bool) -> Network:
    inputs = (TensorSpec("x", "float32", ("b", 3, 16, 16)),)
    profiles = (profile(b=(1, 2, 4)),)
    precision = "fp16" if half else "fp32"
    lowered = lower(trace(Stem(kind).eval(), inputs, profiles), precision=precision)
    request = BuildRequest(Target.parse("trt:sm_90"), profiles, precision)
    (network,) = convert_program(capture(lowered, inputs), request).networks
    assert network is not None
    return network


def kinds(network: Network) -> Counter[str]:
    return Counter(str(layer.attributes.get("op", layer.kind)) for layer in network.layers)


@pytest.mark.parametrize("half", [False, True])
def test_behind_a_relu_nothing_looks_for_nan(half: bool) -> None:
    network = network_of("relu", half)
    assert kinds(network)["MAX"] == 2
    made = fitted(network, module("tensorrt"))
    assert kinds(made)["MAX"] == 1
    assert (
        not {"ISNAN", "select"} & set(kinds(made)) or half
    )  # half's inputs are limited by selects
    assert kinds(made)["ISNAN"] == 0
    assert fitted(made, module("tensorrt")) is made, "names of constants would change again"
    feeds = {"x": torch.randn(2, 3, 16, 16)}
    want, found = evaluate(network, feeds), evaluate(made, feeds)
    for name in want:
        torch.testing.assert_close(found[name], want[name], rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["gelu", "sum", "convolution"])
def test_elsewhere_it_stays(kind: str) -> None:
    network = network_of(kind, False)
    assert fitted(network, module("tensorrt")) is network
    assert kinds(network)["ISNAN"] == 1


def test_only_what_follows_the_relu_goes() -> None:
    """The second pooling reads a pooling's result: nothing is known of that."""
    made = fitted(network_of("relu, twice pooled", False), module("tensorrt"))
    assert kinds(made)["MAX"] == 3
    assert kinds(made)["ISNAN"] == 1


def test_tensorrt_rtx_keeps_nan_in_its_relu() -> None:
    network = network_of("relu", False)
    assert fitted(network, module("tensorrt_rtx")) is network
