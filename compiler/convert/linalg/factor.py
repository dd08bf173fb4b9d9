"""Linear algebra of small float32 matrices: Cholesky, LU, triangular systems, inverse, determinant.

Sizes are static and at most 16, batches are free.
"""

from __future__ import annotations

import torch

from compiler.convert.idioms.positions import plain
from compiler.convert.linalg.lu import LU, rows_of, solved
from compiler.convert.linalg.matrices import (
    check_sizes,
    diagonal,
    identity,
    spread,
    static,
    transposed,
    triangle,
)
from compiler.convert.linalg.triangular import cholesky, substituted
from compiler.convert.net import Net
from compiler.convert.registry import Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("factor")

_FLOAT32 = Support(dtypes=frozenset({"float32", "int32"}))


def _self(self: Value) -> str | None:
    return check_sizes(self)


def _a(A: Value) -> str | None:
    return check_sizes(A)


def _pivoted(A: Value, pivot: bool) -> str | None:
    return check_sizes(A) if pivot else "expected pivot=True, got pivot=False"


# -- Cholesky ------------------------------------------------------------------------------


@TABLE.converter("aten.linalg_cholesky_ex.default", support=_FLOAT32, check=_self)
def linalg_cholesky_ex(
    net: Net, self: Tensor, upper: bool, check_errors: bool
) -> tuple[Tensor, Tensor]:
    """The factor and info. An engine cannot raise: errors show in info and as NaN."""
    return _cholesky(net, self, upper)


@TABLE.converter("aten.cholesky.default", support=_FLOAT32, check=_self)
def cholesky_(net: Net, self: Tensor, upper: bool) -> Tensor:
    """The factor."""
    return _cholesky(net, self, upper)[0]


def _cholesky(net: Net, x: Tensor, upper: bool) -> tuple[Tensor, Tensor]:
    factor, info = cholesky(net, transposed(net, x) if upper else x)
    return transposed(net, factor) if upper else factor, info


@TABLE.converter("aten.cholesky_inverse.default", support=_FLOAT32, check=_self)
def cholesky_inverse(net: Net, self: Tensor, upper: bool) -> Tensor:
    """The inverse of L L^T, or of U^T U."""
    n, _ = static(self)
    return _cholesky_solved(net, self, identity(net, self, n, n), upper)


def _input2(input2: Value) -> str | None:
    return check_sizes(input2)


@TABLE.converter("aten.cholesky_solve.default", support=_FLOAT32, check=_input2)
def cholesky_solve(net: Net, self: Tensor, input2: Tensor, upper: bool) -> Tensor:
    """x with L L^T x = self, or with U^T U x = self."""
    return _cholesky_solved(net, input2, self, upper)


def _cholesky_solved(net: Net, factor: Tensor, b: Tensor, upper: bool) -> Tensor:
    flipped = transposed(net, factor)
    low, high = (flipped, factor) if upper else (factor, flipped)
    x = substituted(net, low, b, lower=True, unit=False)
    return substituted(net, high, x, lower=False, unit=False)


# -- triangular systems --------------------------------------------------------------------


@TABLE.converter("aten.linalg_solve_triangular.default", support=_FLOAT32, check=_self)
def linalg_solve_triangular(
    net: Net, self: Tensor, B: Tensor, upper: bool, left: bool, unitriangular: bool,
) -> Tensor:  # fmt: skip
    """x with self x = B, or x self = B."""
    if left:
        return substituted(net, self, B, not upper, unitriangular)
    flipped = substituted(net, transposed(net, self), transposed(net, B), upper, unitriangular)
    return transposed(net, flipped)


@TABLE.converter("aten.triangular_solve.default", support=_FLOAT32, check=_a)
def triangular_solve(
    net: Net, self: Tensor, A: Tensor, upper: bool, transpose: bool, unitriangular: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """x with A x = self (or A^T x = self), and A."""
    b = spread(net, self, A)
    coefficient = spread(net, A, b)
    matrix = transposed(net, A) if transpose else A
    return substituted(net, matrix, b, upper == transpose, unitriangular), coefficient


# -- LU ------------------------------------------------------------------------------------


@TABLE.converter("aten.linalg_lu_factor_ex.default", support=_FLOAT32, check=_pivoted)
def linalg_lu_factor_ex(
    net: Net, A: Tensor, pivot: bool, check_errors: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """L and U in one matrix, pivots, info."""
    lu = LU(net, A)
    return lu.packed, lu.pivots, lu.info(net)


@TABLE.converter("aten.linalg_lu.default", support=_FLOAT32, check=_pivoted)
def linalg_lu(net: Net, A: Tensor, pivot: bool) -> tuple[Tensor, Tensor, Tensor]:
    """P, L and U with P L U = A."""
    lu = LU(net, A)
    return _permutation(net, lu.rows, A.dtype), *_parts(net, lu.packed)


def _unpacked(LU_data: Value) -> str | None:
    return check_sizes(LU_data)


@TABLE.converter("aten.lu_unpack.default", support=_FLOAT32, check=_unpacked)
def lu_unpack(
    net: Net, LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool, unpack_pivots: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """P, L and U; those not asked for are empty tensors."""
    none = net.constant(torch.empty(0, dtype=LU_data.dtype))
    order = rows_of(net, LU_pivots, static(LU_data)[0])
    p = _permutation(net, order, LU_data.dtype) if unpack_pivots else none
    low, high = _parts(net, LU_data) if unpack_data else (none, none)
    return p, low, high


def _parts(net: Net, packed: Tensor) -> tuple[Tensor, Tensor]:
    """L with ones on its diagonal, [*, m, k], and U [*, k, n]."""
    m, n = static(packed)
    k = min(m, n)
    below = triangle(net, net.narrow(packed, packed.ndim - 1, 0, k), True, -1)
    low = net.add(below, net.constant(torch.eye(m, k)))
    return low, triangle(net, net.narrow(packed, packed.ndim - 2, 0, k), False)


def _permutation(net: Net, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """P [*, m, m] with P[rows[j], j] = 1."""
    numbers = net.unsqueeze(net.arange(plain(net.size(rows, -1))), [1])
    return net.cast(net.equal(net.unsqueeze(rows, [rows.ndim - 1]), numbers), dtype)


def _lu_check(LU: Value) -> str | None:
    return check_sizes(LU)


@TABLE.converter("aten.linalg_lu_solve.default", support=_FLOAT32, check=_lu_check)
def linalg_lu_solve(
    net: Net, LU: Tensor, pivots: Tensor, B: Tensor, left: bool, adjoint: bool
) -> Tensor:
    """x with A x = B or x A = B, for A or its transpose, from A's packed L and U."""
    rows = rows_of(net, pivots, static(LU)[0])
    if left:
        return solved(net, LU, rows, B, adjoint)
    return transposed(net, solved(net, LU, rows, transposed(net, B), not adjoint))


@TABLE.converter("aten._linalg_solve_ex.default", support=_FLOAT32, check=_a)
def linalg_solve_ex(
    net: Net, A: Tensor, B: Tensor, left: bool, check_errors: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x with A x = B or x A = B, A's packed L and U, pivots, info; B may be one vector per matrix of A."""
    lu = LU(net, A)
    vector = B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1])
    b = net.unsqueeze(B, [B.ndim]) if vector else B
    if left or vector:
        x = solved(net, lu.packed, lu.rows, b)
    else:
        x = transposed(net, solved(net, lu.packed, lu.rows, transposed(net, b), True))
    return net.squeeze(x, [x.ndim - 1]) if vector else x, lu.packed, lu.pivots, lu.info(net)


@TABLE.converter("aten.linalg_inv_ex.default", support=_FLOAT32, check=_a)
def linalg_inv_ex(net: Net, A: Tensor, check_errors: bool) -> tuple[Tensor, Tensor]:
    """The inverse, and info."""
    lu, (n, _) = LU(net, A), static(A)
    return solved(net, lu.packed, lu.rows, identity(net, A, n, n)), lu.info(net)


@TABLE.converter("aten._linalg_det.default", support=_FLOAT32, check=_a)
def linalg_det(net: Net, A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The determinant; A's packed L and U, and pivots."""
    lu = LU(net, A)
    on = diagonal(net, lu.packed)
    product = net.reduce(on, "PROD", [on.ndim - 1], False)
    return net.mul(lu.sign(net), product), lu.packed, lu.pivots


@TABLE.converter("aten._linalg_slogdet.default", support=_FLOAT32, check=_a)
def linalg_slogdet(net: Net, A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The determinant's sign and the logarithm of its absolute value; A's packed L and U, and pivots."""
    lu = LU(net, A)
    on = diagonal(net, lu.packed)
    last = [on.ndim - 1]
    sign = net.mul(lu.sign(net), net.reduce(net.unary(on, "SIGN"), "PROD", last, False))
    size = net.reduce(net.unary(net.unary(on, "ABS"), "LOG"), "SUM", last, False)
    return sign, size, lu.packed, lu.pivots
