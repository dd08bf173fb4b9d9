"""Leaves out what looks for NaN in the result of a ReLU, for a TensorRT whose ReLU never gives NaN.

TensorRT's max pooling drops NaN, so its converter pools a second time to find the windows that have one.
Full TensorRT 10.6 makes 0 of NaN in a ReLU (benchmarks/gpu_faults.py shows it with TensorRT's own ONNX
parser; TensorRT-RTX keeps NaN), so behind one there is none to find. In ResNet-50 that search took a
twelfth of the time.

    without_nan_guards(network) -> the network without such searches
"""

from __future__ import annotations

from collections.abc import Sequence

from compiler.network.kinds import Layers
from compiler.network.kinds.elementwise import Activation, Cast, Elementwise, Select, Unary
from compiler.network.kinds.windows import Pooling
from compiler.network.network import Layer, Network, Tensor
from compiler.network.replay import replay


def without_nan_guards(network: Network) -> Network:
    """The same network for a TensorRT in which no result of a ReLU is NaN; itself if it has no such search."""

    def rewrite(
        net: Layers, layer: Layer, inputs: Sequence[Tensor | None]
    ) -> tuple[Tensor, ...] | None:
        if layer.row is not Select:
            return None
        condition, _, otherwise = inputs
        assert otherwise is not None
        if otherwise.shape != layer.outputs[0].shape or not _is_zero(net, condition):
            return None
        return (otherwise,)

    return replay(network, rewrite)


def _is_zero(net: Layers, tensor: Tensor | None) -> bool:
    """Whether it holds zeros alone, or False, because it tells where a ReLU's result is NaN."""
    layer = None if tensor is None else net.producer(tensor)
    if layer is None:
        return False
    op, given = layer.attributes.get("op"), layer.inputs[0]
    if layer.row is Unary and op == "ISNAN":
        source = None if given is None else net.producer(given)
        return source is not None and source.row is Activation and source.attributes["op"] == "RELU"
    if layer.row is Elementwise and op == "GREATER":
        number = None if layer.inputs[1] is None else layer.inputs[1].constant
        return number is not None and bool((number >= 0).all()) and _is_zero(net, given)
    return (layer.row is Cast or (layer.row is Pooling and op == "MAX")) and _is_zero(net, given)
