"""QR by Householder reflections of small float32 matrices, with LAPACK's signs.

A reflection is I - tau v v^T with v = (0, ..., 0, 1, below). LAPACK stores `below` under the diagonal
of R, and the taus separately. Sizes are static and at most 16, batches are free.
"""

from __future__ import annotations

import torch

from compiler.convert.linalg.matrices import (
    check_sizes,
    column_of,
    entry,
    identity,
    masked,
    spread,
    static,
    transposed,
    triangle,
)
from compiler.convert.net import Net
from compiler.convert.registry import Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("householder")

_FLOAT32 = Support(dtypes=frozenset({"float32"}))


def _self(self: Value) -> str | None:
    return check_sizes(self)


def _input(input: Value) -> str | None:
    return check_sizes(input)


def _a(A: Value) -> str | None:
    return check_sizes(A)


@TABLE.converter("aten.geqrf.default", support=_FLOAT32, check=_self)
def geqrf(net: Net, self: Tensor) -> tuple[Tensor, Tensor]:
    """R with the reflections below its diagonal [*, m, n], and the taus [*, min(m, n)]."""
    return _factored(net, self)


def _factored(net: Net, a: Tensor) -> tuple[Tensor, Tensor]:
    m, n = static(a)
    rows, columns = torch.arange(m).unsqueeze(1), torch.arange(n).unsqueeze(0)
    zero, taus = net.scalar(0.0, a.dtype), []
    for k in range(min(m, n)):
        column, alpha = column_of(net, a, k), entry(net, a, k, k)
        tail = masked(net, column, rows > k)
        square = net.reduce(net.mul(tail, tail), "SUM", [a.ndim - 2], True)
        flat = net.equal(square, 0.0)  # nothing to reflect
        size = net.unary(net.add(net.mul(alpha, alpha), square), "SQRT")
        beta = net.select(net.compare(alpha, 0.0, "LESS"), size, net.unary(size, "NEG"))
        beta = net.select(flat, alpha, beta)
        tau = net.select(flat, zero, net.div(net.sub(beta, alpha), beta))
        below = net.select(flat, zero, net.div(tail, net.sub(alpha, beta)))
        v = net.add(below, net.constant((rows == k).to(torch.float32)))
        a = net.select(net.constant(columns > k), _reflected(net, a, v, tau), a)
        held = net.select(net.constant(rows == k), beta, net.select(net.constant(rows > k), below, column))  # fmt: skip
        a = net.select(net.constant(columns == k), held, a)
        taus.append(net.squeeze(tau, [a.ndim - 1]))
    if not taus:
        return a, net.full([*net.sizes(a)[:-2], 0], 0, a.dtype)
    return a, net.concat(taus, a.ndim - 2)


def _reflected(net: Net, a: Tensor, v: Tensor, tau: Tensor) -> Tensor:
    """a - tau v (v^T a), for v [*, m, 1] and tau [*, 1, 1]."""
    along = net.reduce(net.mul(v, a), "SUM", [max(a.ndim, v.ndim) - 2], True)
    return net.sub(a, net.mul(net.mul(v, tau), along))


def _product(net: Net, packed: Tensor, tau: Tensor, x: Tensor, backward: bool) -> Tensor:
    """H1 H2 ... x, or with `backward` ... H2 H1 x."""
    m = packed.shape[-2] or 0
    rows = torch.arange(m).unsqueeze(1)
    scales = net.unsqueeze(tau, [tau.ndim - 1])  # [*, 1, k]
    steps = range(tau.shape[-1] or 0)
    for k in steps if backward else steps[::-1]:
        below = masked(net, column_of(net, packed, k), rows > k)
        v = net.add(below, net.constant((rows == k).to(torch.float32)))
        x = _reflected(net, x, v, column_of(net, scales, k))
    return x


@TABLE.converter("aten.linalg_householder_product.default", support=_FLOAT32, check=_input)
def householder_product(net: Net, input: Tensor, tau: Tensor) -> Tensor:
    """The first columns of H1 H2 ...; as many as input has."""
    return _product(net, input, tau, identity(net, input, *static(input)), False)


@TABLE.converter("aten.ormqr.default", support=_FLOAT32, check=_self)
def ormqr(
    net: Net, self: Tensor, input2: Tensor, input3: Tensor, left: bool, transpose: bool
) -> Tensor:
    """Q input3 or input3 Q, for Q = H1 H2 ... or its transpose; self and input2 are geqrf's results."""
    if left:
        return _product(net, self, input2, spread(net, input3, self), transpose)
    flipped = spread(net, transposed(net, input3), self)
    return transposed(net, _product(net, self, input2, flipped, not transpose))


@TABLE.converter("aten.linalg_qr.default", support=_FLOAT32, check=_a)
def linalg_qr(net: Net, A: Tensor, mode: str) -> tuple[Tensor, Tensor]:
    """Q [*, m, k] and R [*, k, n]. "complete" gives all of Q, "r" an empty tensor in its place."""
    m, n = static(A)
    k = m if mode == "complete" else min(m, n)
    packed, tau = _factored(net, A)
    r = triangle(net, net.narrow(packed, A.ndim - 2, 0, k), False)
    if mode == "r":
        return net.constant(torch.empty(0)), r
    return _product(net, packed, tau, identity(net, A, m, k), False), r
