"""How many elements fall where."""

from __future__ import annotations

import torch

from compiler.convert.net import Net
from compiler.convert.network import Tensor
from compiler.convert.numeric import constant, greater_equal, less_equal, minimum
from compiler.convert.registry import FLOATS, Support, Table

TABLE = Table("counts")


@TABLE.converter("aten.histc.default", support=Support(dtypes=FLOATS))
def histc(net: Net, self: Tensor, bins: int, min: float, max: float) -> Tensor:
    """Elements in each of `bins` equal spans from min to max; others, and NaN, count nowhere.

    Equal bounds stand for the smallest and the largest element; where these are equal too, for one
    below and one above.
    """
    x = net.cast(net.flatten(net.unsqueeze(self, [0]), 0, self.ndim), torch.float32)
    low, high = net.scalar(float(min), x.dtype), net.scalar(float(max), x.dtype)
    if min == max:
        low, high = net.reduce(x, "MIN", [0], False), net.reduce(x, "MAX", [0], False)
        same = net.equal(low, high)
        low = net.select(same, net.sub(low, 1.0), low)
        high = net.select(same, net.add(high, 1.0), high)
    inside = net.elementwise(greater_equal(net, x, low), less_equal(net, x, high), "AND")
    # In torch's order of operations, so that elements on a border fall on the same side.
    place = net.div(net.mul(net.sub(x, low), float(bins)), net.sub(high, low))
    place = net.select(inside, net.unary(place, "FLOOR"), constant(net, -1, x))
    place = minimum(net, place, constant(net, bins - 1, x))
    each = net.unsqueeze(net.arange(bins, torch.float32), [1])
    found = net.cast(net.equal(each, net.unsqueeze(place, [0])), torch.int32)
    return net.cast(net.reduce(found, "SUM", [1], False), self.dtype)
