"""Rows of an attention that see no key give zeros: by TensorRT's layer, and written out."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from compiler.build import tensorrt_rtx
from compiler.build.apart import Apart
from compiler.build.builder import EngineOptions
from compiler.build.networks import BuildRequest
from compiler.convert.net import Net
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.network.evaluate import evaluate
from compiler.network.hidden_rows import guarded
from compiler.network.network import Network
from compiler.network.older import fitted
from compiler.pipeline import convert_program
from compiler.trace.export import trace
from enginebundle.format.spec import Target, TensorSpec
from tests.compiler.small_models import profile

HEADS, DEPTH, ROWS = 2, 4, 5
WIDTH = HEADS * DEPTH
OLD = SimpleNamespace(__name__="tensorrt_rtx", INetworkDefinition=type("D", (), {}))
"""A TensorRT that lacks every layer it may lack, as 10.6 does."""


class Attention(nn.Module):
    """mask: bool, of each row or, as a padding mask, of each key; or added."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.q, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Any, mask: Any) -> Any:
        q, k, v = (
            part(x).unflatten(-1, (HEADS, DEPTH)).transpose(1, 2)
            for part in (self.q, self.q, self.out)
        )
        mask = mask.unsqueeze(1)
        if self.kind == "of keys":
            mask = mask[:, :, :1]
        if self.kind in ("added", "added and finite"):
            low = -torch.inf if self.kind == "added" else torch.finfo(torch.float32).min
            mask = torch.zeros(1).masked_fill(~mask, low)
        k = k[:, :1] if self.kind == "grouped" else k
        v = v[:, :1] if self.kind == "grouped" else v
        grouped = self.kind == "grouped"
        found = functional.scaled_dot_product_attention(q, k, v, mask, enable_gqa=grouped)
        return x + self.out(found.transpose(1, 2).flatten(2))


def parts(model: nn.Module, precision: str = "fp32") -> Any:
    inputs = (
        TensorSpec("x", "float32", ("b", ROWS, WIDTH)),
        TensorSpec("mask", "bool", ("b", ROWS, ROWS)),
    )
    profiles = (profile(b=(1, 3, 4)),)
    lowered = lower(trace(model, inputs, profiles), precision=precision)
    program = capture(lowered, inputs)
    request = BuildRequest(
        Target("rtx", ("sm_89",)), profiles, precision, require_full_compilation=True
    )
    converted = convert_program(program, request)
    (network,), (segment,) = converted.networks, converted.parts.segments
    assert network is not None
    return network, segment, profiles


@pytest.fixture(scope="module")
def apart() -> Any:
    with closing(Apart()) as process:
        yield process


ALL = [
    (kind, precision)
    for kind in ("of rows", "of keys", "added", "added and finite", "grouped")
    for precision in ("fp32", "fp16")
    # The lowest float32 swallows a score, the lowest float16 does not.
    if (kind, precision) != ("added and finite", "fp16")
]


@pytest.mark.parametrize(("kind", "precision"), ALL)
def test_they_do(kind: str, precision: str, apart: Apart) -> None:
    model = Attention(kind).eval()
    network, segment, profiles = parts(model, precision)
    feeds = {"x": torch.randn(3, ROWS, WIDTH), "mask": torch.rand(3, ROWS, ROWS) > 0.5}
    feeds["mask"][0], feeds["mask"][1, 2], feeds["mask"][2] = False, False, True
    want, bound = model(**feeds), 1e-5 if precision == "fp32" else 5e-3
    rtx = tensorrt_rtx.module()
    ways = {"itself": network, "layer": fitted(network, rtx), "written out": fitted(network, OLD)}
    held = {way: {layer.kind for layer in found.layers} for way, found in ways.items()}
    assert {way: "attention" in kinds for way, kinds in held.items()} == {
        "itself": True, "layer": True, "written out": False,
    }  # fmt: skip
    for way, made in ways.items():
        (found,) = evaluate(made, feeds).values()
        torch.testing.assert_close(found.float(), want, atol=bound, rtol=bound, msg=way)
    options = EngineOptions(profiles, capabilities=("sm_89",))
    for way in ("layer", "written out"):
        assert apart.make_engine(rtx, ways[way], segment.graph, options).engine


def test_what_is_not_a_number_in_a_row_stays() -> None:
    model = Attention("of rows").eval()
    network, _, _ = parts(model)
    feeds = {"x": torch.randn(3, ROWS, WIDTH), "mask": torch.eye(ROWS, dtype=torch.bool)[None]}
    feeds["mask"] = feeds["mask"].repeat(3, 1, 1)
    feeds["x"][1, 3, 2] = torch.nan
    want = model(**feeds)
    for made in (network, fitted(network, tensorrt_rtx.module()), fitted(network, OLD)):
        (found,) = evaluate(made, feeds).values()
        assert torch.equal(found.isnan(), want.isnan())
        assert found.isnan()[1, 3].all()


def test_once_is_enough() -> None:
    """A network that is refitted is fitted before its constants are named, and again by the builder."""
    network, _, _ = parts(Attention("of rows").eval())
    made = guarded(network)
    assert made is not network
    assert guarded(made) is made


def attending(mask: bool) -> Network:
    net = Net()
    q = net.input("q", torch.float32, (2, 3, 5, 4))
    keep = net.input("keep", torch.bool, (2, 1, 5, 5)) if mask else None
    return net.finish({"y": net.attention(q, q, q, keep, not mask)}, {})


@pytest.mark.parametrize("mask", [True, False])
def test_without_a_mask_there_is_nothing_to_guard(mask: bool) -> None:
    network = attending(mask)
    assert (guarded(network) is network) is not mask
