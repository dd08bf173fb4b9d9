"""Engines of TensorRT for this GPU alone and for more, built and opened by the product's own code."""

from __future__ import annotations

import pytest
import torch

from compiler.build import tensorrt
from compiler.build.builder import BuildRefused, EngineOptions, build_engine
from compiler.convert.net import Net
from compiler.network.evaluate import evaluate
from compiler.network.network import Network
from enginebundle.errors import RuntimeFailure
from enginebundle.format.digest import digest_bytes
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile, Range, TensorSpec
from enginebundle.format.variant import Segment
from enginebundle.runtimes.tensorrt import open_engine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

IMAGE = TensorSpec("x", "float32", ("b", 8, 16, 16))
OPTIONS = {
    "exact": {},
    "same_compute_capability": {"hardware": "same_compute_capability"},
    "ampere_plus": {"hardware": "ampere_plus"},
    "version_compatible": {"version_compatible": True},
}


def network() -> Network:
    """A convolution, which is where an engine for more GPUs was seen to fail."""
    torch.manual_seed(0)
    net = Net()
    x = net.input("x", torch.float32, (None, 8, 16, 16))
    kernel = net.constant(torch.randn(8, 8, 3, 3) / 8)
    window = {"stride": (1, 1), "pre": (1, 1), "post": (1, 1), "dilation": (1, 1), "groups": 1}
    return net.finish({"y": net.activation(net.convolution(x, kernel, None, **window), "RELU")}, {})


@pytest.mark.parametrize("way", OPTIONS)
def test_an_engine_for_more_is_right_here_or_refused(way: str) -> None:
    pytest.importorskip("tensorrt")
    made = network()
    options = EngineOptions((Profile("p", (("b", Range(1, 4, 8)),)),), **OPTIONS[way])  # type: ignore[arg-type]
    try:
        data = bytes(
            build_engine(tensorrt.module(), made, Graph((IMAGE,), (), (), (), ()), options)
        )
    except BuildRefused as error:
        if error.code != "compatibility":
            raise
        pytest.skip(str(error))
    output = TensorSpec("y", "float32", IMAGE.shape)
    segment = Segment("engine", digest_bytes(data), None, (IMAGE,), (output,), ("p",))
    if options.version_compatible:
        with pytest.raises(RuntimeFailure, match="refused the engine"):
            open_engine(data, segment)
    run = open_engine(data, segment, host_code=options.version_compatible)
    for rows in (1, 4, 8):
        x = torch.randn(IMAGE.sizes({"b": rows}))
        want = evaluate(made, {"x": x})["y"]
        torch.testing.assert_close(run({"x": x}, "p")["y"].cpu(), want, atol=1e-4, rtol=1e-4)
