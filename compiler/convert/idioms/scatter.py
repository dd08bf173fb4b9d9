"""torch.scatter and torch.scatter_reduce: elements written or reduced at given positions."""

from __future__ import annotations

import torch

from compiler.convert.idioms.accumulate import REDUCTIONS, combined, neutral, one_hot, reduced_hits
from compiler.convert.idioms.axes import axis_of, move
from compiler.convert.net import Net, Scalar
from compiler.network.network import Tensor


def written(net: Net, x: Tensor, axis: int, index: Tensor, src: Tensor) -> Tensor:
    """torch.scatter along a non-negative axis."""
    data, index, src = (t if t.ndim else net.reshape(t, [1]) for t in (x, index, src))
    return restored(net, net.scatter_elements(data, index, _cut(net, src, index), axis), x)


def _cut(net: Net, src: Tensor, index: Tensor) -> Tensor:
    """src cut to the sizes of index, which may be shorter."""
    pairs = list(zip(src.shape, index.shape, strict=True))
    if all(a is not None and a == b for a, b in pairs):
        return src
    return net.slice(src, [0] * src.ndim, net.sizes(index), [1] * src.ndim)


def restored(net: Net, result: Tensor, like: Tensor) -> Tensor:
    return result if like.ndim else net.reshape(result, [])


def accumulated(
    net: Net, self: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, include_self: bool
) -> Tensor:
    """torch.scatter_reduce. For bools, a sum is `any` and a product is `all`."""
    if self.dtype == torch.bool:
        whole = "amax" if REDUCTIONS[reduce] in ("SUM", "MAX") else "amin"
        numbers = [net.cast(t, torch.int32) for t in (self, src)]
        made = accumulated(net, numbers[0], dim, index, numbers[1], whole, include_self)
        return net.cast(made, torch.bool)
    x, index, src = (t if t.ndim else net.reshape(t, [1]) for t in (self, index, src))
    axis, op = axis_of(dim, x.ndim), REDUCTIONS[reduce]
    values = move(net, _cut(net, src, index), [axis], [-1])
    hits = one_hot(net, move(net, index, [axis], [-1]), net.size(x, axis))
    values = net.unsqueeze(values, [values.ndim])
    found, count = reduced_hits(net, hits, values, x.ndim - 1, op, x.dtype)
    found, count = (move(net, t, [-1], [axis]) for t in (found, count))
    found = _grown(net, found, x, neutral(x.dtype, op))
    count = _grown(net, count, x, 0)
    return restored(net, combined(net, x, found, count, reduce, include_self), self)


def _grown(net: Net, x: Tensor, like: Tensor, value: Scalar) -> Tensor:
    """x padded at the end to the sizes of `like`."""
    if all(a is not None and a == b for a, b in zip(x.shape, like.shape, strict=True)):
        return x
    zeros, ones = [0] * x.ndim, [1] * x.ndim
    return net.slice(x, zeros, net.sizes(like), ones, "FILL", net.scalar(value, x.dtype))
