"""To add a kind of layer is to write one class: nothing else in the compiler has to know it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compiler.build import tensorrt_rtx
from compiler.build.builder import EngineOptions, build_engine
from compiler.convert.net import Net
from compiler.network.evaluate import evaluate
from compiler.network.kind import Attributes, Kind, Role, Value, accumulated_wide
from compiler.network.kinds import KINDS
from compiler.network.network import Layer, Tensor
from compiler.network.reads import set_apart
from compiler.network.recorder import NetworkError, Recorder, expect
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile, Range, TensorSpec


class ParametricReLU(Kind):
    """IParametricReLULayer, which no converter needs."""

    name = "parametric_relu"
    role = Role.POINTWISE

    @staticmethod
    def write(net: Recorder, x: Tensor, slopes: Tensor) -> Tensor:
        expect(x.dtype == slopes.dtype, f"slopes of {slopes.dtype} for {x.dtype}")
        return net.record(ParametricReLU, (x, slopes), {}, [(x.dtype, x.shape)])[0]

    @staticmethod
    def emit(e: Any, layer: Layer, a: Attributes) -> Any:
        return e.net.add_parametric_relu(*(e.tensor(t) for t in layer.inputs))

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, x: Value, slopes: Value) -> Value:
        return torch.where(x < 0, x * slopes, x)


def test_a_new_kind_is_recorded_folded_evaluated_set_apart_and_built():
    net = Net()
    x = net.input("x", torch.float32, (None, 3))
    slopes = net.constant(torch.tensor([[0.1, 0.2, 0.3]]))
    folded = ParametricReLU.write(net, net.constant(torch.tensor([[-1.0, 2.0, -3.0]])), slopes)
    assert folded.constant is not None
    assert folded.constant.tolist() == [[pytest.approx(-0.1), 2.0, pytest.approx(-0.9)]]
    network = net.finish({"y": net.add(ParametricReLU.write(net, x, slopes), folded)}, {})
    assert [layer.kind for layer in network.layers] == ["parametric_relu", "elementwise"]
    feed = torch.tensor([[-1.0, 1.0, -2.0]])
    want = torch.tensor([[-0.2, 3.0, -1.5]])
    torch.testing.assert_close(evaluate(network, {"x": feed})["y"], want)
    assert set_apart(network).layers == network.layers
    border = Graph((TensorSpec("x", "float32", ("n", 3)),), (), (), (), ())
    options = EngineOptions((Profile("p", (("n", Range(1, 2, 4)),)),), capabilities=("sm_89",))
    assert build_engine(tensorrt_rtx.module(), network, border, options)
    with pytest.raises(NetworkError, match=r"slopes of torch\.float16"):
        ParametricReLU.write(net, x, net.cast(slopes, torch.float16))


def test_names_are_rows_and_methods():
    """Each kind is in the table under its own name, and each but identity is a method of `net`."""
    assert all(name == row.name for name, row in KINDS.items())
    assert {name for name in KINDS if not hasattr(Net, name)} == set()
