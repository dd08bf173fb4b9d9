"""Distances between rows: of all pairs from two sets, or all pairs within one."""

from __future__ import annotations

import math

import torch

from compiler.convert.idioms.accumulate import LIMIT
from compiler.convert.idioms.numeric import clamp, widened
from compiler.convert.idioms.positions import plain
from compiler.convert.idioms.products import product
from compiler.convert.idioms.reductions import norm
from compiler.convert.net import Net
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.network import Size, Tensor

TABLE = Table("distance")
FLOAT = Support(dtypes=FLOATS)


@TABLE.converter("aten._cdist_forward.default", support=FLOAT)
def cdist(net: Net, x1: Tensor, x2: Tensor, p: float, compute_mode: int | None) -> Tensor:
    """[..., n, m] and [..., k, m] to [..., n, k]: p-norms of the differences; batches broadcast.

    The differences are n * k * m intermediate elements. `compute_mode` chooses torch's algorithm;
    here the square is expanded (which is less exact, much less with TF32) only if those are too many.
    """

    def distances(a: Tensor, b: Tensor) -> Tensor:
        if p == 2 and _count(a, b) > LIMIT:
            return _euclidean(net, a, b)
        apart = net.sub(net.unsqueeze(a, [a.ndim - 1]), net.unsqueeze(b, [b.ndim - 2]))
        return _length(net, apart, p)

    return widened(net, distances, *net.same_rank(x1, x2))


def _count(a: Tensor, b: Tensor) -> int:
    """The number of differences between rows, as far as sizes are known."""
    lead = math.prod(max(m or 1, n or 1) for m, n in zip(a.shape[:-2], b.shape[:-2], strict=True))
    return lead * math.prod(n or 1 for n in (*a.shape[-2:], b.shape[-2]))


def _euclidean(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """sqrt(-2 * a * b + a * a + b * b), in this order: of the two squares' sum, from which the product
    is subtracted, TensorRT 10.6 builds a wrong kernel for static sizes (measured on an H200)."""
    squares = [net.reduce(net.mul(t, t), "SUM", [t.ndim - 1], True) for t in (a, b)]
    order = [*range(b.ndim - 2), b.ndim - 1, b.ndim - 2]
    mixed = product(net, net.mul(a, -2.0), b, transpose_b=True)
    total = net.add(net.add(mixed, squares[0]), net.transpose(squares[1], order))
    return net.unary(clamp(net, total, 0.0, None), "SQRT")


def _length(net: Net, apart: Tensor, p: float) -> Tensor:
    """The p-norm over the last dimension; 0 if that is empty."""
    if apart.shape[-1] == 0:
        return net.full(net.sizes(apart)[:-1], 0.0, apart.dtype)
    return norm(net, apart, p, -1, False)


@TABLE.converter("aten._pdist_forward.default", support=FLOAT)
def pdist(net: Net, self: Tensor, p: float) -> Tensor:
    """[n, m] to [n * (n - 1) / 2]: p-norms of the differences of rows i < j, in order of (i, j)."""
    first, second = _pairs(net, net.size(self, 0))

    def distances(x: Tensor) -> Tensor:
        return _length(net, net.sub(net.gather(x, first, 0), net.gather(x, second, 0)), p)

    return widened(net, distances, self)


def _pairs(net: Net, n: Size) -> tuple[Tensor, Tensor]:
    """i and j of every pair i < j < n, as int64 vectors.

    Row i begins at i * (2n - i - 1) / 2. In float32 the root that inverts this is off by at most one;
    comparing with the beginnings corrects it.
    """
    n = plain(n)
    if isinstance(n, int):
        pairs = torch.triu_indices(n, n, 1)
        return net.constant(pairs[0].contiguous()), net.constant(pairs[1].contiguous())
    last = net.size_op("sub", n, 1)
    place = net.arange(net.size_op("floordiv", net.size_op("mul", n, last), 2))
    wide = net.add(net.mul(n, 2), -1)

    def begin(row: Tensor) -> Tensor:
        return net.binary(net.mul(row, net.sub(wide, row)), 2, "DIV")

    rest = net.cast(net.sub(net.mul(wide, wide), net.mul(place, 8)), torch.float32)
    root = net.sub(net.cast(wide, torch.float32), net.unary(rest, "SQRT"))
    row = net.cast(net.mul(root, 0.5), torch.int64)
    after = net.compare(begin(row), place, "GREATER")
    before = net.unary(net.compare(begin(net.add(row, 1)), place, "GREATER"), "NOT")
    row = net.sub(row, net.cast(after, torch.int64))
    row = net.add(row, net.cast(before, torch.int64))
    column = net.add(net.add(net.sub(place, begin(row)), row), 1)
    return row, column
