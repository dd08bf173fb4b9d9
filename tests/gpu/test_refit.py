"""An engine of full TensorRT without its weights: opened with one model's, then with another's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compiler.build.builder import EngineOptions, build_engine
from compiler.convert.net import Net
from compiler.network.network import Network
from compiler.network.older import fitted
from compiler.network.refit import bindings
from enginebundle.errors import FormatError
from enginebundle.format.digest import digest_bytes
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile, Range, TensorSpec
from enginebundle.format.variant import Segment
from enginebundle.runtimes.tensorrt import open_engine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

X, Y = TensorSpec("x", "float32", ("b", 64)), TensorSpec("y", "float32", ("b", 64))
PROFILE = Profile("p", (("b", Range(1, 4, 8)),))


def weights(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"w": (64, 64), "bias": (64,), "scale": (64,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def network(given: dict[str, torch.Tensor]) -> Network:
    """relu(x @ w + bias) * (scale * 2), with the last product of two constants."""
    net = Net()
    x = net.input("x", torch.float32, (None, 64))
    w, bias, scale = (net.constant(given[name], True) for name in ("w", "bias", "scale"))
    made = net.activation(net.add(net.matmul(x, w), bias), "RELU")
    return net.finish({"y": net.mul(made, net.mul(scale, 2.0))}, {})


def supplied(given: dict[str, torch.Tensor], trt: Any) -> dict[str, torch.Tensor]:
    return dict(bindings(fitted(network(given), trt), given).tensors)


def test_an_engine_is_right_with_either_model_s_weights() -> None:
    trt = pytest.importorskip("tensorrt")
    base = weights(0)
    bare = fitted(network(base), trt)
    bound = bindings(bare, base)
    assert len(bound.derived) == 1
    graph = Graph((X,), (), (), (), ())
    engine = build_engine(trt, bare, graph, EngineOptions((PROFILE,), refit=True), bound)
    segment = Segment("engine", digest_bytes(engine), None, (X,), (Y,), ("p",))
    x = torch.randn(4, 64)
    for seed in (0, 1):
        given = weights(seed)
        got = open_engine(engine, segment, supplied(given, trt))({"x": x}, "p")["y"].cpu()
        want = torch.relu(x @ given["w"] + given["bias"]) * given["scale"] * 2
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    for lost in ({}, {n: t for n, t in supplied(base, trt).items() if n != "w"}):
        with pytest.raises(FormatError, match="which the bundle does not have"):
            open_engine(engine, segment, lost)
