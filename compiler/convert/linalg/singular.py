"""Singular values, eigenvalues of symmetric matrices, and ranks, of float32 matrices.

Singular vectors and eigenvectors stay in torch: their signs are arbitrary, and no two libraries
agree on them. compiler/convert/linalg/jacobi.py has the method and its limits.
"""

from __future__ import annotations

import torch

from compiler.convert.linalg.jacobi import (
    check_size,
    cut_of,
    lengths_of,
    ordered,
    orthogonal,
    symmetric,
    tall_of,
)
from compiler.convert.linalg.matrices import static
from compiler.convert.net import Net
from compiler.convert.registry import Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("singular")

_FLOAT32 = Support(dtypes=frozenset({"float32", "int64"}))


def _singular(net: Net, a: Tensor) -> Tensor:
    """[*, min(m, n)], in no order."""
    tall = tall_of(net, a)
    return lengths_of(net, orthogonal(net, tall, static(tall)[0]))


def _eigenvalues(net: Net, a: Tensor, lower: bool) -> Tensor:
    """[*, n], in no order, of the symmetric matrix that one triangle of a defines.

    Shifted by its norm, the matrix has no negative eigenvalues: they are then its singular values.
    """
    n, whole = static(a)[0], symmetric(net, a, lower)
    if n == 0:
        return lengths_of(net, whole)
    square = net.reduce(net.mul(whole, whole), "SUM", [a.ndim - 2, a.ndim - 1], True)
    length = net.unary(square, "SQRT")
    moved = net.add(whole, net.mul(net.constant(torch.eye(n)), length))
    return net.sub(_singular(net, moved), net.squeeze(length, [a.ndim - 1]))


def _svd_check(A: Value, compute_uv: bool) -> str | None:
    if compute_uv:
        return "expected only the singular values to be read, got a use of the vectors, whose signs are arbitrary"
    return check_size(A)


@TABLE.converter("aten._linalg_svd.default", support=_FLOAT32, check=_svd_check)
def linalg_svd(
    net: Net, A: Tensor, full_matrices: bool, compute_uv: bool, driver: str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """An empty tensor for U, the singular values in descending order, and an empty tensor for V."""
    none = net.constant(torch.empty(0))
    return none, ordered(net, _singular(net, A), True), none


def _eigh_check(A: Value, compute_v: bool) -> str | None:
    if compute_v:
        return "expected only the eigenvalues to be read, got a use of the vectors, whose signs are arbitrary"
    return check_size(A)


@TABLE.converter("aten._linalg_eigh.default", support=_FLOAT32, check=_eigh_check)
def linalg_eigh(net: Net, A: Tensor, UPLO: str, compute_v: bool) -> tuple[Tensor, Tensor]:
    """The eigenvalues of a symmetric matrix in ascending order, and an empty tensor."""
    values = ordered(net, _eigenvalues(net, A, UPLO.upper() == "L"), False)
    return values, net.constant(torch.empty(0))


# -- rank ----------------------------------------------------------------------------------


def _rank(
    net: Net, x: Tensor, atol: Tensor | float | None, rtol: Tensor | float | None, hermitian: bool
) -> Tensor:
    """int64 [*]: how many singular values exceed max(atol, rtol * the largest)."""
    m, n = static(x)
    if not m * n:
        return net.full(net.sizes(x)[:-2], 0, torch.int64)
    values = net.unary(_eigenvalues(net, x, True), "ABS") if hermitian else _singular(net, x)
    last = values.ndim - 1
    largest = net.reduce(values, "MAX", [last], True)
    cut = cut_of(net, net.unsqueeze(largest, [last]), max(m, n), atol, rtol)
    above = net.compare(values, net.squeeze(cut, [cut.ndim - 1]), "GREATER")
    return net.reduce(net.cast(above, torch.int64), "SUM", [above.ndim - 1], False)


def _self_check(self: Value) -> str | None:
    return check_size(self)


def _input_check(input: Value) -> str | None:
    return check_size(input)


@TABLE.converter("aten.linalg_matrix_rank.default", support=_FLOAT32, check=_self_check)
def linalg_matrix_rank(net: Net, self: Tensor, tol: float, hermitian: bool) -> Tensor:
    return _rank(net, self, tol, 0.0, hermitian)


@TABLE.converter("aten.linalg_matrix_rank.tol_tensor", support=_FLOAT32, check=_input_check)
def linalg_matrix_rank_tensor(net: Net, input: Tensor, tol: Tensor, hermitian: bool) -> Tensor:
    return _rank(net, input, tol, 0.0, hermitian)


@TABLE.converter("aten.linalg_matrix_rank.atol_rtol_float", support=_FLOAT32, check=_self_check)
def linalg_matrix_rank_numbers(
    net: Net, self: Tensor, atol: float | None, rtol: float | None, hermitian: bool
) -> Tensor:
    return _rank(net, self, atol, rtol, hermitian)


@TABLE.converter("aten.linalg_matrix_rank.atol_rtol_tensor", support=_FLOAT32, check=_input_check)
def linalg_matrix_rank_tensors(
    net: Net, input: Tensor, atol: Tensor | None, rtol: Tensor | None, hermitian: bool
) -> Tensor:
    return _rank(net, input, atol, rtol, hermitian)
