"""Every layer kind: evaluated by torch, built by TensorRT-RTX, refused where TensorRT would."""

from __future__ import annotations

import pytest
import torch

from compiler.build import tensorrt_rtx
from compiler.build.builder import EngineOptions, _log, build_engine
from compiler.convert.net import Net
from compiler.network.emit import Emitter
from compiler.network.evaluate import evaluate
from compiler.network.kinds import KINDS
from compiler.network.recorder import NetworkError
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile, Range, TensorSpec
from tests.compiler.network.cases import CASES


def border(case) -> Graph:  # type: ignore[no-untyped-def]
    """The inputs of a case as a graph's, for optimization profiles."""
    specs = tuple(
        TensorSpec(
            f"x{i}", str(d).removeprefix("torch."), tuple("n" if s is None else s for s in sizes)
        )
        for i, (d, sizes) in enumerate(case.inputs)
    )
    return Graph(specs, (), (), (), ())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layer_evaluates_and_builds(case):  # type: ignore[no-untyped-def]
    network = case.network()
    for n in (2, 3, 5):
        assert evaluate(network, case.feeds(n))
    profile = Profile("p", (("n", Range(2, 3, 5)),))
    options = EngineOptions((profile,), capabilities=("sm_89",))
    assert build_engine(tensorrt_rtx.module(), network, border(case), options)


def test_every_kind_is_emitted_evaluated_and_covered():
    kinds = {layer.kind for case in CASES for layer in case.network().layers}
    assert all(callable(row.emit) and callable(row.evaluate) for row in KINDS.values())
    assert kinds == set(KINDS) - {"plugin"}  # TensorRT-RTX has no plugins to build with


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (lambda n, x: n.elementwise(x, n.scalar(1, torch.int64), "SUM"), "dtypes"),
        (lambda n, x: n.unary(x, "NOT"), "wants bool"),
        (lambda n, x: n.reduce(n.cast(x, torch.bool), "SUM", [0], False), "does not reduce bool"),
        (lambda n, x: n.cast(x, torch.float64), "no such type"),
        (lambda n, x: n.reshape(x, [1] * 9), "rank 9"),
        (lambda n, x: n.transpose(x, [0, 0]), "permutation"),
        (lambda n, x: n.matmul(n.cast(x, torch.int64), n.cast(x, torch.int64)), "one float type"),
    ],
)
def test_layers_that_tensorrt_would_refuse(write, text):  # type: ignore[no-untyped-def]
    net = Net()
    x = net.input("x", torch.float32, (None, 3))
    with pytest.raises(NetworkError, match=text):
        write(net, x)


def test_zeros_around_a_convolutions_input_become_its_padding():
    net = Net()
    x = net.input("x", torch.float32, (None, 3, 8, 8))
    padded = net.slice(
        x,
        [0, 0, 0, -1],
        [net.size(x, 0), 3, 9, 10],
        [1] * 4,
        "FILL",
        net.scalar(0.0, torch.float32),
    )
    kernel = net.constant(torch.randn(4, 3, 3, 3))
    made = net.convolution(
        padded, kernel, None, stride=(1, 1), pre=(0, 0), post=(0, 0), dilation=(1, 1), groups=1
    )
    network = net.finish({"y": made}, {})
    assert [layer.kind for layer in network.layers] == ["convolution"]
    feed = torch.randn(2, 3, 8, 8)
    want = torch.nn.functional.conv2d(torch.nn.functional.pad(feed, (1, 1, 0, 1)), kernel.constant)
    torch.testing.assert_close(evaluate(network, {"x": feed})["y"], want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_padding_of_the_batch_or_with_a_value_stays_a_slice(fill):
    net = Net()
    x = net.input("x", torch.float32, (None, 3, 8, 8))
    more = net.size_op("add", net.size(x, 0), 1) if fill == 0 else net.size(x, 0)
    padded = net.slice(
        x, [0, 0, -1, -1], [more, 3, 10, 10], [1] * 4, "FILL", net.scalar(fill, torch.float32)
    )
    kernel = net.constant(torch.randn(4, 3, 3, 3))
    made = net.convolution(
        padded, kernel, None, stride=(1, 1), pre=(0, 0), post=(0, 0), dilation=(1, 1), groups=1
    )
    assert "slice" in [layer.kind for layer in net.finish({"y": made}, {}).layers]


def test_an_attention_that_an_error_names_by_its_place_blames_its_node():
    trt = tensorrt_rtx.module()
    net = Net()
    q = net.input("q", torch.float32, (1, 2, 4, 8))
    net.node = "attend_7"
    network = net.finish({"y": net.attention(q, q, q, None, False)}, {})
    log = _log(trt)
    builder = trt.Builder(log)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    Emitter(trt, definition).emit(network)
    places = range(definition.num_layers)
    place = next(i for i in places if "attend_7#" in definition.get_layer(i).name)
    # As Myelin words it.
    text = (
        f"CHECK(false) failed. For attention operation (Unnamed Layer* {place}) [Attention], with"
    )
    log.log(trt.ILogger.Severity.ERROR, text)
    assert log.blamed(definition) == "attend_7"


@pytest.mark.parametrize("op", ["SUM", "PROD", "MAX", "MIN"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.float32])
def test_a_reduction_of_nothing_keeps_its_dtype(op, dtype):
    net = Net()
    x = net.input("x", dtype, (None, 0))
    made = net.reduce(x, op, [1], False)
    assert (made.dtype, made.shape) == (dtype, (None,))
    found = evaluate(net.finish({"y": made}, {}), {"x": torch.zeros(3, 0, dtype=dtype)})["y"]
    assert (found.dtype, tuple(found.shape)) == (dtype, (3,))
