"""Factorizations of small matrices, and systems solved with them: every shape, dynamic batches, singular."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.compiler.convert.calls import Make, call, x
from tests.compiler.convert.harness import Case, parametrize, run


def square(size: int, *lead: int) -> Callable[[int], torch.Tensor]:
    """[n, *lead, size, size], with rows that pivoting must swap."""
    return lambda n: torch.randn(n, *lead, size, size) + 2 * torch.eye(size).flip(0)


def definite(size: int) -> Callable[[int], torch.Tensor]:
    def make(n: int) -> torch.Tensor:
        a = torch.randn(n, size, size)
        return a @ a.mT + size * torch.eye(size)

    return make


def singular(n: int) -> torch.Tensor:
    a = torch.randn(n, 3, 3)
    a[:, :, 2] = 0
    return a


def triangular(upper: bool) -> Callable[[int], torch.Tensor]:
    """The other triangle holds NaN, as it must not be read."""

    def make(n: int) -> torch.Tensor:
        a = torch.randn(n, 4, 4) + 5 * torch.eye(4)
        other = torch.ones(4, 4, dtype=torch.bool).tril(-1)
        return torch.where(other if upper else other.mT, torch.nan, a)

    return make


def factored(size: int, right: Callable[[int], torch.Tensor], **options: bool) -> Make:
    def make(n: int) -> tuple[tuple[torch.Tensor, ...], dict[str, bool]]:
        torch.manual_seed(0)
        lu, pivots = torch.linalg.lu_factor(square(size)(n))
        return (lu, pivots, right(n)), options

    return make


def packed(rows: int, columns: int, **options: bool) -> Make:
    def make(n: int) -> tuple[tuple[torch.Tensor, ...], dict[str, bool]]:
        torch.manual_seed(0)
        return tuple(torch.linalg.lu_factor(torch.randn(n, rows, columns))), options

    return make


def fortran(size: int) -> Callable[[int], torch.Tensor]:
    return lambda n: square(size)(n).mT.contiguous().mT


CHOLESKY = "aten.linalg_cholesky_ex.default"
TRIANGULAR, LU_SOLVE = "aten.linalg_solve_triangular.default", "aten.linalg_lu_solve.default"

CASES = [
    Case(CHOLESKY, call(definite(4))),
    Case(CHOLESKY, call(definite(4), upper=True), name="upper"),
    Case(CHOLESKY, call(lambda n: torch.tensor([[4.0, 9.0], [2.0, 5.0]])), static=True, name="lower read"),
    Case(CHOLESKY, call(definite(1)), name="one"),
    Case(CHOLESKY, call(x("n", 0, 0)), name="empty", build=False),
    Case(CHOLESKY, call(x("n", 40, 40)), refused=("argument", "up to 16"), name="large"),
    Case(CHOLESKY, call(x("n", "n")), refused=("argument", "static"), name="dynamic"),
    Case("aten.cholesky.default", call(definite(3), True)),
    Case("aten.cholesky_inverse.default", call(definite(3)), rtol=1e-4),
    Case("aten.cholesky_inverse.default", call(definite(3), True), rtol=1e-4, name="upper"),
    Case("aten.cholesky_solve.default", call(x("n", 3, 2), definite(3)), rtol=1e-4),
    Case("aten.cholesky_solve.default", call(x("n", 3, 2), definite(3), True), rtol=1e-4, name="upper"),
    *(
        Case(TRIANGULAR, call(triangular(upper), right, upper=upper, left=left, unitriangular=unit),
             rtol=1e-4, build=unit, name=f"{upper} {left} {unit}")
        for upper in (True, False)
        for left, right in ((True, x("n", 4, 3)), (False, x("n", 3, 4)))
        for unit in (True, False)
    ),
    Case(TRIANGULAR, call(lambda n: torch.eye(3) * 2, x("n", 3, 2), upper=True), name="broadcast"),
    *(
        Case("aten.triangular_solve.default", call(x("n", 4, 2), lambda n: triangular(True)(n).nan_to_num(0),
                                                   True, transpose, unit),
             rtol=1e-4, build=unit, name=f"{transpose} {unit}")
        for transpose in (True, False)
        for unit in (True, False)
    ),
    Case("aten.linalg_lu_factor_ex.default", call(square(5)), rtol=1e-4),
    Case("aten.linalg_lu_factor_ex.default", call(x("n", 2, 5, 3)), rtol=1e-4, name="tall"),
    Case("aten.linalg_lu_factor_ex.default", call(x("n", 3, 5)), rtol=1e-4, name="wide"),
    Case("aten.linalg_lu_factor_ex.default", call(x(4, 4)), static=True, rtol=1e-4, name="no batch"),
    Case("aten.linalg_lu_factor_ex.default", call(singular), rtol=1e-4, name="singular"),
    Case("aten.linalg_lu.default", call(square(4)), rtol=1e-4),
    Case("aten.linalg_lu.default", call(x("n", 4, 2)), rtol=1e-4, name="tall"),
    Case("aten.linalg_lu.default", call(x("n", 2, 4)), rtol=1e-4, name="wide"),
    Case("aten.lu_unpack.default", packed(4, 4)),
    Case("aten.lu_unpack.default", packed(5, 3), name="tall"),
    Case("aten.lu_unpack.default", packed(3, 5, unpack_data=False), name="P"),
    Case("aten.lu_unpack.default", packed(3, 5, unpack_pivots=False), name="LU"),
    *(
        Case(LU_SOLVE, factored(4, right, left=left, adjoint=adjoint), atol=1e-4, rtol=1e-4,
             build=left, name=f"{left} {adjoint}")
        for left, right in ((True, x("n", 4, 2)), (False, x("n", 2, 4)))
        for adjoint in (True, False)
    ),
    Case("aten.linalg_inv_ex.default", call(square(4)), atol=1e-4, rtol=1e-4),
    Case("aten.linalg_inv_ex.default", call(square(3, 2)), atol=1e-4, rtol=1e-4, name="batches"),
    # Eager torch factors the transpose of matrices in C order, which only its LU reveals.
    Case("aten._linalg_det.default", call(fortran(4)), rtol=1e-4),
    Case("aten._linalg_slogdet.default", call(fortran(4)), rtol=1e-4),
    Case("aten._linalg_slogdet.default", call(lambda n: singular(n).mT.contiguous().mT), name="singular"),
    *(
        Case("aten._linalg_solve_ex.default", call(fortran(4), b, left=left), atol=1e-4, rtol=1e-4, name=name)
        for name, b, left in (
            ("left", x("n", 4, 2), True), ("right", x("n", 2, 4), False), ("vectors", x("n", 4), True),
        )
    ),
]  # fmt: skip


@parametrize(CASES)
def test_factor(case: Case) -> None:
    run(case)
