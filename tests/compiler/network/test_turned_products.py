"""A product of a turned matrix, turned back, becomes a product from the other side; no other does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compiler.build import tensorrt_rtx
from compiler.build.builder import EngineOptions, build_engine
from compiler.convert.net import Net
from compiler.network.evaluate import evaluate
from compiler.network.network import Network, Tensor
from compiler.network.turned_products import straightened
from enginebundle.format.graph import Graph
from enginebundle.format.spec import TensorSpec

SHAPE = (2, 8, 6)


def along_rows(net: Net, x: Tensor, c: Tensor) -> Any:
    return net.transpose(net.matmul(net.transpose(x, [0, 2, 1]), c), [0, 2, 1])


def fourier(net: Net, x: Tensor) -> Any:
    """FNet's: both parts of a transform along the rows, met by other products again."""
    left, right = (net.constant(torch.randn(1, 8, 8)) for _ in range(2))
    after = [net.constant(torch.randn(1, 6, 6)) for _ in range(2)]
    real = net.matmul(along_rows(net, x, left), after[0])
    return net.add(x, net.sub(real, net.matmul(along_rows(net, x, right), after[1])))


def to_fewer(net: Net, x: Tensor) -> Any:
    return along_rows(net, x, net.constant(torch.randn(1, 8, 3)))


def of_each_batch(net: Net, x: Tensor) -> Any:
    return along_rows(net, x, net.constant(torch.randn(2, 8, 8)))


def in_a_plane(net: Net, x: Tensor) -> Any:
    flat = net.reshape(x, [16, 6])
    c = net.constant(torch.randn(16, 5))
    return net.transpose(net.matmul(net.transpose(flat, [1, 0]), c), [1, 0])


def of_two_inputs(net: Net, x: Tensor) -> Any:
    return along_rows(net, x, net.matmul(x, net.transpose(x, [0, 2, 1])))


def read_twice(net: Net, x: Tensor) -> Any:
    made = net.matmul(net.transpose(x, [0, 2, 1]), net.constant(torch.randn(1, 8, 6)))
    return net.add(made, net.transpose(made, [0, 2, 1]))


def other_axes(net: Net, x: Tensor) -> Any:
    made = net.matmul(net.transpose(x, [1, 2, 0]), net.constant(torch.randn(1, 2, 2)))
    return net.transpose(made, [2, 0, 1])


def not_turned_before(net: Net, x: Tensor) -> Any:
    return net.transpose(net.matmul(x, net.constant(torch.randn(1, 6, 4))), [0, 2, 1])


def flagged(net: Net, x: Tensor) -> Any:
    turned = net.transpose(x, [0, 2, 1])
    c = net.constant(torch.randn(1, 4, 8))
    return net.transpose(net.matmul(turned, c, transpose_b=True), [0, 2, 1])


def network_of(write: Any) -> Network:
    torch.manual_seed(0)
    net = Net()
    x = net.input("x", torch.float32, SHAPE)
    return net.finish({"y": write(net, x)}, {})


@pytest.mark.parametrize("write", [fourier, to_fewer, of_each_batch, in_a_plane])
def test_turned_and_turned_back(write: Any) -> None:
    network = network_of(write)
    made = straightened(network)
    assert not [layer for layer in made.layers if layer.kind == "transpose"]
    feeds = {"x": torch.randn(SHAPE)}
    torch.testing.assert_close(evaluate(made, feeds)["y"], evaluate(network, feeds)["y"])
    border = Graph((TensorSpec("x", "float32", SHAPE),), (), (), (), ())
    options = EngineOptions((), capabilities=("sm_89",))
    assert build_engine(tensorrt_rtx.module(), made, border, options)


@pytest.mark.parametrize(
    "write", [of_two_inputs, read_twice, other_axes, not_turned_before, flagged]
)
def test_others_stay(write: Any) -> None:
    network = network_of(write)
    assert straightened(network) is network
