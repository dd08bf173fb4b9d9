"""Symbols that a build's profiles pin to one value are numbers in its networks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from compiler.build.networks import BuildRequest, pinned_symbols
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.network.evaluate import evaluate
from compiler.pipeline import convert_program
from compiler.trace.export import trace
from enginebundle.format.spec import Profile, Target, TensorSpec
from tests.compiler.small_models import profile


@pytest.mark.parametrize(
    ("profiles", "expected"),
    [
        ((), {}),
        ((profile(b=(1, 2, 4)),), {}),
        ((profile(b=(4, 4, 4)),), {"b": 4}),
        ((profile(b=(4, 4, 4), s=(1, 4, 9)),), {"b": 4}),
        ((profile(b=(4, 4, 4)), profile("q", b=(4, 4, 4))), {"b": 4}),
        ((profile(b=(4, 4, 4)), profile("q", b=(8, 8, 8))), {}),
        ((profile(b=(4, 4, 4)), profile("q", b=(1, 4, 4))), {}),
    ],
)
def test_one_value_in_every_profile(
    profiles: tuple[Profile, ...], expected: dict[str, int]
) -> None:
    assert pinned_symbols(profiles) == expected


class Sizes(nn.Module):
    def forward(self, x: Any) -> Any:
        """x [b, s]: numbers from sizes, a range, a reshape, and a result of s - 1 columns."""
        rows, columns = x.shape
        places = torch.arange(columns) / columns
        halves = (x + places).reshape(rows, -1).cumsum(1) * rows
        return {"same": halves, "less": halves[:, 1:], "both": torch.cat([x, x], 1)}


class Spectrum(nn.Module):
    def forward(self, x: Any) -> Any:
        return {"real": torch.fft.fft2(x, dim=(0, 1)).real}


class Scaled(nn.Module):
    def forward(self, x: Any) -> Any:
        return {"out": x.new_zeros(x.shape[1], x.shape[0]) + x.T / x.shape[1]}


def network_of(model: nn.Module, profiles: tuple[Profile, ...]) -> Any:
    inputs = (TensorSpec("x", "float32", ("b", "s")),)
    traced = (profile(b=(2, 3, 8), s=(2, 6, 8)),)
    program = capture(lower(trace(model, inputs, traced)), inputs)
    request = BuildRequest(Target("rtx", ("sm_89",)), profiles, require_full_compilation=True)
    (network,) = convert_program(program, request).networks
    assert network is not None
    return network


@pytest.mark.parametrize("model", [Sizes(), Spectrum(), Scaled()], ids=lambda m: type(m).__name__)
def test_pinned_sizes_leave_nothing_dynamic_and_the_same_numbers(model: nn.Module) -> None:
    whole = network_of(model, (profile(b=(3, 3, 3), s=(6, 6, 6)),))
    half = network_of(model, (profile(b=(3, 3, 3), s=(2, 6, 8)),))
    free = network_of(model, (profile(b=(2, 3, 8), s=(2, 6, 8)),))
    dynamic = [
        sum(not tensor.is_static for layer in network.layers for tensor in layer.outputs)
        for network in (whole, half, free)
    ]
    assert dynamic[0] == 0
    assert 0 < dynamic[1] <= dynamic[2]
    assert len(whole.layers) < len(free.layers)
    x = torch.randn(3, 6)
    for network in (whole, half, free):
        found = list(evaluate(network, {"x": x}).values())
        for got, want in zip(found, model(x).values(), strict=True):
            torch.testing.assert_close(got, want)


def test_a_size_with_another_symbol_stays_dynamic() -> None:
    """s + b columns, with b pinned alone."""

    class Joined(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.cat([x, x.new_zeros(x.shape[0], x.shape[0])], 1) * math.pi

    network = network_of(Joined(), (profile(b=(3, 3, 3), s=(2, 6, 8)),))
    (_, made), *_ = network.outputs
    assert made.shape == (3, None)
