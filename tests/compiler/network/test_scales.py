"""Attention layers that share a scaled query or key: each gets its own, and numbers do not change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from compiler.build.apart import Apart
from compiler.build.networks import BuildRequest
from compiler.build.segments import prepare
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.network.evaluate import evaluate
from compiler.pipeline import convert_program
from compiler.trace.export import trace
from enginebundle.format.spec import Profile, Target, TensorSpec
from tests.compiler.small_models import profile

attend = functional.scaled_dot_product_attention


def adapter(q: Any, k: Any, v: Any, w: Any) -> Any:
    """As IP-Adapter: one query, text and image."""
    return attend(q, k, v) + 0.6 * attend(q, w, w)


def three(q: Any, k: Any, v: Any, w: Any) -> Any:
    return attend(q, k, v) + 0.6 * attend(q, w, w) - 0.3 * attend(q, v, k)


def projected(q: Any, k: Any, v: Any, w: Any) -> Any:
    one = q @ torch.ones(8, 8)
    return attend(one, k, v) - 0.8 * attend(one, w, v)


def keys(q: Any, k: Any, v: Any, w: Any) -> Any:
    """One scaled key for two queries."""
    return attend(q, k * 0.25, v, scale=1.0) + attend(w, k * 0.25, w, scale=1.0)


def causal(q: Any, k: Any, v: Any, w: Any) -> Any:
    return attend(q, k, v, is_causal=True) + attend(q, w, w)


def read_elsewhere(q: Any, k: Any, v: Any, w: Any) -> Any:
    scaled = k * 0.5
    return attend(q, scaled, v, scale=1.0) + torch.relu(scaled) * w


def by_itself(q: Any, k: Any, v: Any, w: Any) -> Any:
    return attend(q * 0.5, q * 0.5, v, scale=1.0) + k + w


def value(q: Any, k: Any, v: Any, w: Any) -> Any:
    return attend(q, k * 0.5, k * 0.5, scale=1.0) + v + w


FUNCTIONS = [adapter, three, projected, keys, causal, read_elsewhere, by_itself, value]
INPUTS = tuple(TensorSpec(name, "float32", ("b", 2, 16, 8)) for name in "qkvw")


class Model(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, q: Any, k: Any, v: Any, w: Any) -> Any:
        return self.function(q, k, v, w)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_built_and_right(function: Callable[..., Any], static: bool, apart: Apart) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    profiles: tuple[Profile, ...] = (profile(b=(2, 2, 2) if static else (1, 2, 4)),)
    program = capture(lower(trace(Model(function), INPUTS, profiles)), INPUTS)
    request = BuildRequest(Target("rtx", ("sm_89",)), profiles)
    converted = convert_program(program, request)
    (network,), (segment,) = converted.networks, converted.parts.segments
    assert network is not None
    torch.manual_seed(0)
    values = {spec.name: torch.randn(2, 2, 16, 8) for spec in INPUTS}
    (found,) = evaluate(network, values).values()
    torch.testing.assert_close(found, function(**values))
    ready = prepare(trt, network, program, request)
    assert apart.make_engine(trt, ready.network, segment.graph, ready.options).engine


@pytest.fixture(scope="module")
def apart() -> Any:
    with closing(Apart()) as process:
        yield process


def test_other_networks_stay_as_they_are() -> None:
    profiles = (profile(b=(1, 2, 4)),)

    def one(q: Any, k: Any, v: Any, w: Any) -> Any:
        return attend(q, k, v) + attend(w, k, v)

    program = capture(lower(trace(Model(one), INPUTS, profiles)), INPUTS)
    (network,) = convert_program(
        program, BuildRequest(Target("rtx", ("sm_89",)), profiles)
    ).networks
    assert network is not None
    assert [layer.kind for layer in network.layers].count("elementwise") == 3
