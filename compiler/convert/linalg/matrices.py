"""Small float32 matrices [*, m, n]: their entries, triangles and other pieces.

The sizes of the matrices are static and at most LIMIT, leading dims are free. Factorizations take one
unrolled step per column, as in LAPACK. Everything is elementwise except for sums: there are no matrix
products, which a GPU may round to TF32.
"""

from __future__ import annotations

import torch

from compiler.convert.idioms.axes import swap
from compiler.convert.net import Net
from compiler.network.network import Tensor
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
