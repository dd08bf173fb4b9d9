"""The most frequent number along a dimension.

Every number is compared with every other. This is exact, but needs numbers x numbers intermediate
elements.
"""

from __future__ import annotations

import math

import torch

from compiler.convert.idioms.accumulate import too_large
from compiler.convert.idioms.numeric import constant
from compiler.convert.net import Net
from compiler.convert.registry import NUMBERS, Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("mode")


def _mode_check(self: Value, dim: int) -> str | None:
    return too_large(self.shape, self.shape[dim]) if self.shape else None


@TABLE.converter("aten.mode.default", support=Support(dtypes=NUMBERS), check=_mode_check)
def mode(net: Net, self: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    """The most frequent number along dim (the smallest of several), and its last position."""
    if self.ndim == 0:
        return self, net.scalar(0, torch.int64)
    axis = dim % self.ndim
    order = [*(i for i in range(self.ndim) if i != axis), axis]
    x = net.transpose(self, order)  # [*, n]
    last = x.ndim - 1
    same = net.equal(net.unsqueeze(x, [x.ndim]), net.unsqueeze(x, [last]))
    count = net.reduce(net.cast(same, torch.int32), "SUM", [x.ndim], False)
    often = net.equal(count, net.reduce(count, "MAX", [last], True))
    highest = math.inf if x.dtype.is_floating_point else torch.iinfo(x.dtype).max
    value = net.reduce(net.select(often, x, constant(net, highest, x)), "MIN", [last], True)
    numbers = net.arange(net.size(x, last))
    places = net.select(net.equal(x, value), numbers, net.scalar(-1, torch.int64))
    place = net.reduce(places, "MAX", [last], True)
    back = [order.index(i) for i in range(self.ndim)]
    value, place = net.transpose(value, back), net.transpose(place, back)
    if keepdim:
        return value, place
    return net.squeeze(value, [axis]), net.squeeze(place, [axis])
