"""Factorizations of small float32 matrices [*, m, n], with one unrolled step per column, as in LAPACK.

The sizes of the matrices are static and at most LIMIT, leading dims are free. Everything is
elementwise except for sums: there are no matrix products, which a GPU may round to TF32.
"""

from __future__ import annotations

import torch

from compiler.convert.idioms.axes import swap
from compiler.convert.net import Net
from compiler.network.network import Size, Tensor
from enginebundle.format.graph import Value

LIMIT = 16
"""The most steps. Each is about ten layers, and the next one depends on it."""


def check_sizes(*matrices: Value) -> str | None:
    """Why matrices cannot be factored, or None."""
    for value in matrices:
        sizes = value.shape[-2:]
        if any(not isinstance(n, int) or n > LIMIT for n in sizes):
            return f"expected static sizes up to {LIMIT} (the steps are unrolled), got {sizes}"
    return None


# -- pieces --------------------------------------------------------------------------------


def entry(net: Net, a: Tensor, row: int, column: int) -> Tensor:
    """One entry of each matrix, [*, 1, 1]."""
    return net.narrow(net.narrow(a, a.ndim - 2, row, 1), a.ndim - 1, column, 1)


def column_of(net: Net, a: Tensor, k: int) -> Tensor:
    """[*, m, 1]."""
    return net.narrow(a, a.ndim - 1, k, 1)


def row_of(net: Net, a: Tensor, k: int) -> Tensor:
    """[*, 1, n]."""
    return net.narrow(a, a.ndim - 2, k, 1)


def masked(net: Net, a: Tensor, keep: torch.Tensor) -> Tensor:
    """a where the constant mask is True, otherwise 0, even in place of NaN."""
    return net.select(net.constant(keep), a, net.scalar(0, a.dtype))


def transposed(net: Net, a: Tensor) -> Tensor:
    return swap(net, a, -2, -1)


def triangle(net: Net, a: Tensor, lower: bool, diagonal: int = 0) -> Tensor:
    """torch.tril or torch.triu."""
    ones = torch.ones(static(a), dtype=torch.bool)
    return masked(net, a, ones.tril(diagonal) if lower else ones.triu(diagonal))


def static(a: Tensor) -> tuple[int, int]:
    """The sizes of the matrices."""
    m, n = a.shape[-2:]
    assert m is not None and n is not None  # noqa: PT018 - check_sizes ensures both
    return m, n


def diagonal(net: Net, a: Tensor) -> Tensor:
    """[*, min(m, n)]."""
    on = masked(net, a, torch.eye(*static(a), dtype=torch.bool))
    shorter = a.ndim - (1 if a.shape[-2] == min(static(a)) else 2)
    return net.reduce(on, "SUM", [shorter], False)


def identity(net: Net, like: Tensor, rows: int, columns: int) -> Tensor:
    """An identity matrix for each matrix of `like`."""
    one = net.constant(torch.eye(rows, columns))
    return net.expand(one, [*net.sizes(like)[:-2], rows, columns])


def spread(net: Net, b: Tensor, a: Tensor) -> Tensor:
    """b, with its leading dims broadcast against those of a."""
    a, b = net.same_rank(a, b)
    theirs, mine = net.sizes(a)[:-2], net.sizes(b)[:-2]
    lead = [t if isinstance(m, int) and m == 1 else m for m, t in zip(mine, theirs, strict=True)]
    return net.expand(b, [*lead, *net.sizes(b)[-2:]])


def first_bad(net: Net, bad: Tensor) -> Tensor:
    """int32 [*]: 1 + the position of the first True in the last dim, 0 if there is none."""
    size = bad.shape[-1] or 0
    if not size:
        return net.full(net.sizes(bad)[:-1], 0, torch.int32)
    numbers = net.constant(torch.arange(1, size + 1, dtype=torch.int32))
    none = net.scalar(size + 1, torch.int32)
    first = net.reduce(net.select(bad, numbers, none), "MIN", [bad.ndim - 1], False)
    return net.select(net.equal(first, none), net.scalar(0, torch.int32), first)


# -- triangular systems --------------------------------------------------------------------


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


# -- LU with partial pivoting --------------------------------------------------------------


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
