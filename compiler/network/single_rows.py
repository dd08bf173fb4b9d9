"""Writes a product of one row in one head as a sum of elementwise products.

    q k = the sum over the rows of q^T * k, for q [b, 1, 1, d] and k [b, 1, d, s]

Full TensorRT 10.6 gets the attention of one query with one head wrong where it stands behind another
attention, as in Perceiver's decoder (benchmarks/gpu_faults.py shows it with TensorRT's own ONNX parser).
Written so it was right; other ways to turn or flag the product were not. Its cost is that of reading k,
as a product of one row's is.

    without_single_rows(network) -> the network without such products
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compiler.network.kinds import Layers
from compiler.network.kinds.elementwise import Cast, Elementwise
from compiler.network.kinds.products import MatMul
from compiler.network.kinds.reductions import Reduce
from compiler.network.kinds.shapes import Transpose
from compiler.network.network import Layer, Network, Tensor
from compiler.network.replay import replay


def without_single_rows(network: Network) -> Network:
    """The same network; itself if it has no such product."""
    return replay(network, _rewrite)


def _rewrite(
    net: Layers, layer: Layer, inputs: Sequence[Tensor | None]
) -> tuple[Tensor, ...] | None:
    if layer.row is not MatMul or any(layer.attributes.values()):
        return None
    q, k = inputs
    assert q is not None
    assert k is not None
    # Both tensors of one head: where only the left one has one, heads share a query.
    if q.shape[1:-1] != (1, 1) or k.ndim != 4 or k.shape[1] != 1 or k.constant is not None:
        return None
    wide, column = (_as(net, t, torch.float32) for t in (k, Transpose.write(net, q, [0, 1, 3, 2])))
    made = Reduce.write(net, Elementwise.write(net, column, wide, "PROD"), "SUM", [2], True)
    return (_as(net, made, layer.outputs[0].dtype),)


def _as(net: Layers, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A product of halves is summed in float32, so this is."""
    return tensor if tensor.dtype == dtype else Cast.write(net, tensor, dtype)
