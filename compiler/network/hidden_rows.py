"""Rows of an attention that see no key give zeros, as in torch: what TensorRT's own layer needs for that.

It makes no promise about such rows. So it gets a mask in which they see every key, which makes something
finite of them, and its result is multiplied by 0 there. (Of a choice between the result and zero, TensorRT
10.6 made NaN.) An attention that is written out needs none of it.

    guarded(network) -> the network, with such rows guarded in each attention layer
    seen(net, mask) -> the rows that see at least one key
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from compiler.network.kinds import Layers
from compiler.network.kinds.attention import Attention, visible
from compiler.network.kinds.elementwise import Cast, Elementwise, Select, Unary
from compiler.network.kinds.reductions import Reduce
from compiler.network.network import Layer, Network, Tensor
from compiler.network.recorder import Recorder
from compiler.network.replay import replay


def guarded(network: Network) -> Network:
    """The same network; itself if all its attention is guarded already."""
    return replay(network, _guard)


def _guard(net: Layers, layer: Layer, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...] | None:
    if layer.row is not Attention or layer.attributes["guarded"]:
        return None
    *given, mask = inputs
    assert mask is not None
    rows = seen(net, mask)
    attributes = {**layer.attributes, "guarded": True}
    results = [(t.dtype, t.shape) for t in layer.outputs]
    (made,) = net.record(Attention, (*given, _opened(net, mask, rows)), attributes, results)
    return (Elementwise.write(net, made, Cast.write(net, rows, made.dtype), "PROD"),)


def _opened(net: Recorder, mask: Tensor, rows: Tensor) -> Tensor:
    """The mask, in which rows that see no key see every one."""
    none = Unary.write(net, rows, "NOT")
    if mask.dtype == torch.bool:
        return Elementwise.write(net, mask, none, "OR")
    low, zero = (net.constant(torch.tensor(n, dtype=mask.dtype)) for n in (-math.inf, 0))
    hidden = Elementwise.write(net, Elementwise.write(net, mask, low, "EQUAL"), none, "AND")
    return Select.write(net, hidden, zero, mask)


def seen(net: Recorder, mask: Tensor) -> Tensor:
    """bool [..., s, 1]: True for rows that see at least one key, told from a bool or added mask, or from
    masked scores; not from a row's maximum, which TensorRT gives as the lowest finite number."""
    keys = Cast.write(net, visible(net, mask), torch.int32)
    count = Reduce.write(net, keys, "MAX", [mask.ndim - 1], True)
    return Elementwise.write(
        net, count, net.constant(torch.tensor(0, dtype=torch.int32)), "GREATER"
    )
