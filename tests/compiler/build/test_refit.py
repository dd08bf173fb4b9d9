"""One engine for all fine-tunes of a model: what it holds, what it gets, and that this is enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from compiler.build.engine_cache import network_digest
from compiler.build.networks import BuildRequest, convert_program
from compiler.convert.library import REGISTRY
from compiler.goldens.goldens import GoldenSource, make_goldens
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.network.evaluate import evaluate
from compiler.network.network import Network, Tensor
from compiler.network.older import without
from compiler.network.refit import Bindings, bindings
from compiler.program import Program, skeleton, weights_from_bytes, weights_to_bytes
from compiler.trace.export import trace
from enginebundle.format.spec import Target, TensorSpec
from tests.compiler import small_models as models

LACKS = {"add_attention_v2", "add_cumulative", "add_squeeze", "add_unsqueeze"}
"""What TensorRT 10.6 lacks."""


class Small(nn.Module):
    """Weights that an engine takes as they are, spread out, cut, and in its own code."""

    def __init__(self, scale: float = 0.5, chosen: int = 1, width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(6, width)
        self.spread = nn.ConvTranspose1d(3, 3, 2, stride=2, dilation=2)
        self.scale = nn.Parameter(torch.tensor(scale))
        self.register_buffer("chosen", torch.tensor([0, chosen]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.spread(x)[..., :6] * self.scale + self.linear.weight[:1, :1]
        return self.linear(y)[..., self.chosen]


SMALL = (TensorSpec("x", "float32", ("b", 3, 6)),)


def tuned(model: nn.Module, seed: int = 1) -> nn.Module:
    """The model after some training: every parameter of more than one number differs a little."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            trained = isinstance(tensor, nn.Parameter) or name.endswith(("_mean", "_var"))
            if trained and tensor.numel() > 1:
                tensor += torch.rand(tensor.shape, generator=generator) * 0.1
    return model.eval()


class Converted:
    """A model's program as the store gives it back, its one network, and what that leaves out."""

    def __init__(self, model: nn.Module, inputs: Any, profiles: Any, precision: str) -> None:
        exported = trace(model, inputs, profiles)
        made = capture(lower(exported, REGISTRY.ops(), precision=precision), inputs)
        self.program = Program(made.graph, weights_from_bytes(weights_to_bytes(made.weights)))
        request = BuildRequest(Target.parse("trt:sm_90"), profiles, precision)
        (network,) = convert_program(self.program, request).networks
        assert network is not None
        self.network = without(network, LACKS)
        self.bindings: Bindings = bindings(self.network, self.program.weights)

    @property
    def key(self) -> str:
        return network_digest(self.network, {}, self.bindings.names)

    @property
    def blobs(self) -> dict[str, torch.Tensor]:
        """What the loader reads: the program's weights, and what was computed from them."""
        derived = {name: self.bindings.tensors[name] for name in self.bindings.derived}
        found = weights_from_bytes(weights_to_bytes(self.program.weights))
        return found | weights_from_bytes(weights_to_bytes(derived))


def small(model: nn.Module, precision: str = "fp32") -> Converted:
    return Converted(model.eval(), SMALL, (models.profile(b=(1, 2, 4)),), precision)


def refitted(network: Network, names: Mapping[str, str], blobs: Mapping[str, Any]) -> Network:
    """The network with each bound constant as the loader would supply it: by name, as plain numbers."""

    def new(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or tensor.constant is None or tensor.name not in names:
            return tensor
        return replace(tensor, constant=blobs[names[tensor.name]].reshape(tensor.constant.shape))

    layers = []
    for layer in network.layers:
        attributes = {
            name: refitted(value, names, blobs) if isinstance(value, Network) else value
            for name, value in layer.attributes.items()
        }
        inputs = tuple(new(t) for t in layer.inputs)
        layers.append(replace(layer, inputs=inputs, attributes=attributes))
    return replace(network, layers=tuple(layers))


def check(base: Converted, other: Converted, inputs: Mapping[str, torch.Tensor]) -> None:
    """The base's engine with the other's weights computes what the other's own network does."""
    assert skeleton(base.program.graph) == skeleton(other.program.graph)
    assert base.key == other.key
    got = evaluate(refitted(base.network, base.bindings.names, other.blobs), inputs)
    want, before = evaluate(other.network, inputs), evaluate(base.network, inputs)
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, atol=0, rtol=0, equal_nan=True)
        assert not torch.equal(before[name], value)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["bert", "vit", "resnet", "lstm"])
def test_an_engine_with_another_model_s_weights_is_that_model_s(name: str, precision: str) -> None:
    made = []
    for change in (lambda m: m, tuned):
        model, inputs, profiles = models.build(name)
        made.append(Converted(change(model), inputs, profiles, precision))
    cases = make_goldens(model, GoldenSource(seed=1, cases=1), inputs, profiles[:1])
    check(*made, cases[0].inputs)
    base = made[0]
    total = sum(t.numel() for t in base.program.weights.values() if t.is_floating_point())
    bound = sum(t.numel() for t in base.bindings.tensors.values())
    assert bound == total, "every weight is left out of the engine, and once"


def test_values_computed_from_weights_are_supplied_too() -> None:
    base, other = small(Small()), small(tuned(Small()))
    check(base, other, {"x": torch.randn(2, 3, 6)})
    assert base.bindings.derived
    assert not base.bindings.derived & base.program.weights.keys()
    assert all(not name.startswith("scale") for name in base.bindings.names.values())


@pytest.mark.parametrize("change", [{"scale": 0.25}, {"chosen": 2}, {"width": 5}], ids=str)
def test_what_stays_in_the_engine_is_in_its_key(change: dict[str, Any]) -> None:
    base, other = small(Small()), small(Small(**change))
    assert base.key != other.key
    assert skeleton(base.program.graph) != skeleton(other.program.graph)


def test_two_weights_that_are_equal_by_chance_stay_two() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
            nn.init.zeros_(self.a.bias)
            nn.init.zeros_(self.b.bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(torch.relu(self.a(x)))

    base, other = small(Two()), small(tuned(Two()))
    assert {"a.bias", "b.bias"} <= set(base.bindings.names.values())
    check(base, other, {"x": torch.randn(2, 3, 6)})
