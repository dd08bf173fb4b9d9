"""Triangular systems, and the Cholesky factorization, of small float32 matrices [*, n, n]."""

from __future__ import annotations

import torch

from compiler.convert.linalg.matrices import (
    column_of,
    entry,
    first_bad,
    masked,
    row_of,
    spread,
    static,
    transposed,
)
from compiler.convert.net import Net
from compiler.network.network import Tensor


def substituted(net: Net, a: Tensor, b: Tensor, lower: bool, unit: bool) -> Tensor:
    """x with a x = b, for triangular a [*, n, n]; only that triangle is read."""
    n, _ = static(a)
    b = spread(net, b, a)
    order = range(n) if lower else range(n)[::-1]
    rows: dict[int, Tensor] = {}
    for k in order:
        rows[k] = row_of(net, b, k)
        if not unit:
            rows[k] = net.div(rows[k], entry(net, a, k, k))
        if k != order[-1]:
            places = torch.arange(n).unsqueeze(1)
            ahead = places > k if lower else places < k
            taken = net.mul(column_of(net, a, k), rows[k])
            b = net.sub(b, masked(net, taken, ahead))
    return net.concat([rows[k] for k in range(n)], b.ndim - 2) if n else b


def cholesky(net: Net, a: Tensor) -> tuple[Tensor, Tensor]:
    """(L, info) with a = L L^T, from the lower triangle of a; info is `first_bad` of the pivots."""
    n, _ = static(a)
    if not n:
        return a, net.full(net.sizes(a)[:-2], 0, torch.int32)
    columns, pivots = [], []
    for k in range(n):
        pivot = entry(net, a, k, k)
        pivots.append(pivot)
        column = net.div(column_of(net, a, k), net.unary(pivot, "SQRT"))
        column = masked(net, column, torch.arange(n).unsqueeze(1) >= k)
        columns.append(column)
        a = net.sub(a, net.mul(column, transposed(net, column)))
    joined = net.squeeze(net.concat(pivots, a.ndim - 1), [a.ndim - 2])
    good = net.compare(joined, 0.0, "GREATER")
    return net.concat(columns, a.ndim - 1), first_bad(net, net.unary(good, "NOT"))
