"""LU factorization with partial pivoting of small float32 matrices [*, m, n], and systems solved with it."""

from __future__ import annotations

import torch

from compiler.convert.linalg.matrices import (
    column_of,
    diagonal,
    entry,
    first_bad,
    masked,
    row_of,
    spread,
    static,
    transposed,
)
from compiler.convert.linalg.triangular import substituted
from compiler.convert.net import Net
from compiler.network.network import Size, Tensor


class LU:
    """P L U = a [*, m, n]: `packed` holds L below the diagonal and U on and above it.

    `pivots` int32 [*, k] counts from 1: step i swapped rows i and pivots[i] - 1. `rows` int64
    [*, m] says where each row came from: L U = a[rows].
    """

    def __init__(self, net: Net, a: Tensor) -> None:
        m, n = static(a)
        lead = net.sizes(a)[:-2]
        rows, columns = torch.arange(m).unsqueeze(1), torch.arange(n).unsqueeze(0)
        order = net.expand(net.arange(m), [*lead, m])
        found = []
        for k in range(min(m, n)):
            size = net.squeeze(net.unary(column_of(net, a, k), "ABS"), [a.ndim - 1])
            size = net.select(net.constant(torch.arange(m) >= k), size, net.scalar(-1.0, a.dtype))
            where = _largest(net, size)
            found.append(where)
            swapped = _swap(net, m, k, where)
            a = permuted(net, a, swapped)
            order = net.gather_elements(order, swapped, order.ndim - 1)
            column, pivot = column_of(net, a, k), entry(net, a, k, k)
            column = net.select(net.equal(pivot, 0.0), column, net.div(column, pivot))
            taken = net.mul(
                masked(net, column, rows > k), masked(net, row_of(net, a, k), columns > k)
            )
            below = net.constant((rows > k) & (columns == k))
            a = net.select(below, column, net.sub(a, taken))
        self.packed, self.rows = a, order
        if found:
            places = net.add(net.concat(found, order.ndim - 1), 1)
            self.pivots = net.cast(places, torch.int32)
        else:
            self.pivots = net.full([*lead, 0], 0, torch.int32)

    def info(self, net: Net) -> Tensor:
        """int32 [*]: 1 + the first zero on the diagonal of U, 0 if there is none."""
        return first_bad(net, net.equal(diagonal(net, self.packed), 0.0))

    def sign(self, net: Net) -> Tensor:
        """[*]: the determinant of P."""
        count = self.pivots.shape[-1] or 0
        numbers = net.constant(torch.arange(1, count + 1, dtype=torch.int32))
        one, minus = net.scalar(1.0, torch.float32), net.scalar(-1.0, torch.float32)
        signs = net.select(net.equal(self.pivots, numbers), one, minus)
        return net.reduce(signs, "PROD", [signs.ndim - 1], False)


def _largest(net: Net, x: Tensor) -> Tensor:
    """int64 [*, 1]: the position of the largest element in the last dim, the first of equal ones."""
    if x.ndim > 1:
        return net.topk(x, "MAX", 1, x.ndim - 1)[1]
    return net.squeeze(net.topk(net.unsqueeze(x, [0]), "MAX", 1, 1)[1], [0])


def _swap(net: Net, count: int, k: int, where: Tensor) -> Tensor:
    """int64 [*, count]: 0, 1, ... with k and `where` [*, 1] swapped."""
    numbers, mine = net.arange(count), net.scalar(k, torch.int64)
    there = net.select(net.equal(numbers, where), mine, numbers)
    return net.select(net.constant(torch.arange(count) == k), where, there)


def rows_of(net: Net, pivots: Tensor, count: int) -> Tensor:
    """`LU.rows`, from pivots [*, k]."""
    where = net.sub(net.cast(pivots, torch.int64), 1)
    order = net.expand(net.arange(count), [*net.sizes(pivots)[:-1], count])
    for k in range(pivots.shape[-1] or 0):
        swapped = _swap(net, count, k, net.narrow(where, where.ndim - 1, k, 1))
        order = net.gather_elements(order, swapped, order.ndim - 1)
    return order


def permuted(net: Net, b: Tensor, rows: Tensor) -> Tensor:
    """b[rows]: the rows of each matrix in a new order; leading dims broadcast."""
    places = net.unsqueeze(rows, [rows.ndim])
    b = spread(net, b, places)
    sizes: list[Size] = net.sizes(b)
    places = spread(net, places, b)
    return net.gather_elements(b, net.expand(places, sizes), b.ndim - 2)


def inverse_order(net: Net, rows: Tensor) -> Tensor:
    """The permutation that undoes `rows` [*, m]."""
    sizes = net.sizes(rows)
    return net.scatter_elements(rows, rows, net.expand(net.arange(sizes[-1]), sizes), rows.ndim - 1)


def solved(net: Net, packed: Tensor, rows: Tensor, b: Tensor, adjoint: bool = False) -> Tensor:
    """x with P L U x = b, or with (P L U)^T x = b; b [*, n, r]."""
    if not adjoint:
        x = substituted(net, packed, permuted(net, b, rows), lower=True, unit=True)
        return substituted(net, packed, x, lower=False, unit=False)
    flipped = transposed(net, packed)
    x = substituted(net, flipped, b, lower=True, unit=False)
    x = substituted(net, flipped, x, lower=False, unit=True)
    return permuted(net, x, inverse_order(net, rows))
