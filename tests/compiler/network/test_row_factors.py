"""Rows that see no key give zeros, and what makes them so stands behind the projection where it can."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from compiler.build.apart import Apart
from compiler.build.networks import BuildRequest
from compiler.build.segments import prepare
from compiler.convert.net import Net
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.network.evaluate import evaluate
from compiler.network.network import Network
from compiler.network.row_factors import sink
from compiler.pipeline import convert_program
from compiler.trace.export import trace
from enginebundle.format.spec import Profile, Target, TensorSpec
from tests.compiler.small_models import profile

HEADS, DEPTH = 2, 4
WIDTH = HEADS * DEPTH


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
        if self.kind == "added":
            mask = torch.zeros(1).masked_fill(~mask, -torch.inf)
        found = functional.scaled_dot_product_attention(q, k, v, mask)
        if self.kind == "read twice":
            return self.out(found.transpose(1, 2).flatten(2)) + found.sum()
        if self.kind == "heads stay":
            return found @ self.out.weight[:DEPTH, :DEPTH]
        if self.kind == "transposed":
            return found.transpose(2, 3) @ found
        return x + self.out(found.transpose(1, 2).flatten(2))


def parts(kind: str, profiles: tuple[Profile, ...], rows: int | str = 5) -> Any:
    inputs = (
        TensorSpec("x", "float32", ("b", rows, WIDTH)),
        TensorSpec("mask", "bool", ("b", rows, rows)),
    )
    model = Attention(kind).eval()
    program = capture(lower(trace(model, inputs, profiles)), inputs)
    request = BuildRequest(Target("rtx", ("sm_89",)), profiles, require_full_compilation=True)
    converted = convert_program(program, request)
    (network,), (segment,) = converted.networks, converted.parts.segments
    assert network is not None
    return model, program, request, network, segment


def factors(network: Network) -> list[str]:
    """The kinds of the layers whose results are multiplied by a cast bool."""
    made_by = {t.name: layer for layer in network.layers for t in layer.outputs}
    found = []
    for layer in network.layers:
        if layer.kind == "elementwise" and layer.attributes["op"] == "PROD":
            behind = [made_by.get(t.name) for t in layer.inputs if t is not None]
            if behind[1] is not None and behind[1].kind in ("cast", "reshape", "transpose"):
                assert behind[0] is not None
                found.append(behind[0].kind)
    return found


@pytest.fixture(scope="module")
def apart() -> Any:
    with closing(Apart()) as process:
        yield process


@pytest.mark.parametrize("batch", [(1, 3, 4), (3, 3, 3)], ids=["dynamic", "pinned"])
@pytest.mark.parametrize("kind", ["bool", "added"])
def test_behind_the_projection(kind: str, batch: tuple[int, int, int], apart: Apart) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    model, program, request, network, segment = parts(kind, (profile(b=batch),))
    assert factors(network) == ["matmul"]
    feeds = {"x": torch.randn(3, 5, WIDTH), "mask": torch.rand(3, 5, 5) > 0.5}
    feeds["mask"][0], feeds["mask"][1, 2] = False, False
    (found,) = evaluate(network, feeds).values()
    torch.testing.assert_close(found, model(**feeds))
    ready = prepare(trt, network, program, request)
    assert apart.make_engine(trt, ready.network, segment.graph, ready.options).engine


@pytest.mark.parametrize("kind", ["read twice", "transposed", "two dynamic sizes"])
def test_where_it_stays(kind: str) -> None:
    two = kind == "two dynamic sizes"
    ranges = {"b": (1, 3, 4)} | ({"s": (2, 5, 6)} if two else {})
    model, _, _, network, _ = parts(kind, (profile(**ranges),), "s" if two else 5)
    assert factors(network) == ["attention"]
    feeds = {"x": torch.randn(3, 5, WIDTH), "mask": torch.rand(3, 5, 5) > 0.5}
    feeds["mask"][2] = False
    (found,) = evaluate(network, feeds).values()
    torch.testing.assert_close(found, model(**feeds))


def test_a_product_of_each_head() -> None:
    model, _, _, network, _ = parts("heads stay", (profile(b=(1, 3, 4)),))
    assert factors(network) == ["matmul"]
    feeds = {"x": torch.randn(3, 5, WIDTH), "mask": torch.zeros(3, 5, 5, dtype=torch.bool)}
    (found,) = evaluate(network, feeds).values()
    torch.testing.assert_close(found, model(**feeds))


@pytest.mark.parametrize("shape", [(2, 3, 5, 1), (1, 1, 5, 1), (2, 1, 1, 1), (2, 1, 5, 4)])
def test_a_factor_that_is_not_of_whole_rows_stays(shape: tuple[int, ...]) -> None:
    """Of each head, it is none of the merged rows; of each element, of no row."""
    net = Net()
    x = net.input("x", torch.float32, (2, 3, 5, 4))
    keep = net.input("keep", torch.bool, shape)
    weight = net.constant(torch.randn(1, 12, 7))
    rows = net.reshape(
        net.transpose(net.mul(x, net.cast(keep, torch.float32)), (0, 2, 1, 3)), [2, 5, 12]
    )
    network = net.finish({"y": net.matmul(rows, weight)}, {"rows": rows})
    sunk = sink(network)
    moved = shape[1] == shape[3] == 1
    assert (sunk is not network) == moved
    assert ("rows" in sunk.nodes) != moved
    feeds = {"x": torch.randn(2, 3, 5, 4), "keep": torch.rand(shape) > 0.5}
    torch.testing.assert_close(evaluate(sunk, feeds)["y"], evaluate(network, feeds)["y"])


def test_a_number_that_is_not_0_or_1_stays() -> None:
    """Half a row's numbers, multiplied before the product, are rounded otherwise than after it."""
    net = Net()
    x, scale = (net.input(n, torch.float32, s) for n, s in (("x", (5, 4)), ("scale", (5, 1))))
    made = net.matmul(net.mul(x, scale), net.constant(torch.randn(4, 3)))
    network = net.finish({"y": made}, {})
    assert sink(network) is network
