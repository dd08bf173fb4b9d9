"""Writes a product of a turned matrix, turned back, as the product from the other side.

    (x^T c)^T = c^T x, for a constant c

Full TensorRT 10.6 mistakes the order of the axes where two such products of one tensor meet again, as in a
Fourier transform along the rows (FNet; benchmarks/gpu_faults.py shows it with TensorRT's own ONNX parser).
Written from the other side there is nothing to turn.

    straightened(network) -> the network without such turns
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from compiler.network.kinds import Layers
from compiler.network.kinds.products import MatMul
from compiler.network.kinds.shapes import Transpose
from compiler.network.network import Layer, Network, Tensor
from compiler.network.replay import replay


def straightened(network: Network) -> Network:
    """The same network; itself if it has no such product."""
    read = [t.name for layer in network.layers for t in layer.inputs if t is not None]
    readers = Counter([*read, *(t.name for _, t in network.outputs)])

    def rewrite(
        net: Layers, layer: Layer, inputs: Sequence[Tensor | None]
    ) -> tuple[Tensor, ...] | None:
        (was, *_) = layer.inputs
        if was is None or readers[was.name] > 1 or not _turns(layer):
            return None
        product = _turned(net, inputs[0])
        if product is None:
            return None
        x, c = product
        return (MatMul.write(net, c, x, transpose_a=True),)

    return replay(network, rewrite)


def _turned(net: Layers, tensor: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """x and c, if the tensor is x^T c."""
    layer = None if tensor is None else net.producer(tensor)
    if layer is None or layer.row is not MatMul or any(layer.attributes.values()):
        return None
    left, right = layer.inputs
    assert left is not None
    assert right is not None
    before = net.producer(left)
    if (
        right.constant is None
        or before is None
        or before.row is not Transpose
        or not _turns(before)
    ):
        return None
    (x,) = before.inputs
    return None if x is None else (x, right)


def _turns(layer: Layer) -> bool:
    """Whether it is a transpose that swaps the last two axes and no others."""
    order = layer.attributes["order"] if layer.row is Transpose else ()
    last = len(order) - 1
    return last > 0 and order == (*range(last - 1), last, last - 1)
