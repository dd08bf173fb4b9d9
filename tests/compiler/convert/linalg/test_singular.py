"""Singular values, eigenvalues and pseudo-inverses of every shape, of full and lower rank."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run

SVD, EIGH, PINV = (
    "aten._linalg_svd.default",
    "aten._linalg_eigh.default",
    "aten.linalg_pinv.atol_rtol_tensor",
)
CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def symmetric(size: int) -> Callable[[int], torch.Tensor]:
    def make(n: int) -> torch.Tensor:
        a = torch.randn(n, size, size)
        return a + a.mT

    return make


def nearly_singular(n: int) -> torch.Tensor:
    """Singular values 4, 2 and 1e-3."""
    q = torch.linalg.qr(torch.randn(n, 3, 3)).Q
    return q @ torch.diag(torch.tensor([4.0, 2.0, 1e-3])) @ torch.linalg.qr(torch.randn(n, 3, 3)).Q


def tenth(n: int) -> torch.Tensor:
    return torch.full((n,), 0.1)


CASES = [
    *(
        Case(SVD, call(x("n", *sizes), False, False), **CLOSE, build=sizes in ((5, 3), (4, 4)), name=f"{sizes}")
        for sizes in ((5, 3), (3, 5), (4, 4), (2, 2), (1, 4), (8, 8), (99, 6), (24, 24))
    ),
    Case(SVD, call(lambda n: torch.zeros(n, 3, 3), False, False), build=False, name="zero"),
    Case(SVD, call(nearly_singular, False, False), **CLOSE, build=False, name="nearly singular"),
    Case(SVD, call(x(5, 4), False, False), static=True, **CLOSE, name="no batch"),
    Case(SVD, call(x("n", 3, 3), False, True), refused=("argument", "signs are arbitrary")),
    Case(SVD, call(x("n", 70, 70), False, False), refused=("argument", "up to 64"), name="large"),
    Case(EIGH, call(symmetric(5), "L", False), **CLOSE),
    Case(EIGH, call(x("n", 4, 4), "U", False), **CLOSE, name="upper read"),
    Case(EIGH, call(lambda n: torch.eye(3).repeat(n, 1, 1), "L", False), build=False, **CLOSE, name="equal"),
    *(
        Case(PINV, call(x("n", *sizes)), atol=1e-4, rtol=1e-3, build=sizes == (4, 3), name=f"{sizes}")
        for sizes in ((4, 3), (2, 4), (1, 3))
    ),
    Case(PINV, call(nearly_singular, atol=tenth), atol=1e-4, rtol=1e-3, name="atol"),
    Case(PINV, call(nearly_singular, rtol=lambda n: torch.tensor(0.7)), atol=1e-4, rtol=1e-3, build=False,
         name="rtol"),
    Case(PINV, call(lambda n: torch.zeros(n, 3, 2)), build=False, name="zero"),
    *(
        Case(f"aten.linalg_matrix_rank.{op}", call(nearly_singular, *args, **options), build=not args, name=name)
        for op, name, args, options in (
            ("atol_rtol_float", "", (), {}),
            ("atol_rtol_float", "atol", (), {"atol": 3.0}),
            ("atol_rtol_tensor", "both", (), {"atol": tenth, "rtol": lambda n: torch.ones(())}),
            ("default", "", (0.1,), {}),
            ("tol_tensor", "", (tenth,), {}),
        )
    ),
    Case("aten.linalg_matrix_rank.default", call(symmetric(4), 3.0, True), build=False, name="hermitian"),
    Case("aten.linalg_matrix_rank.default", call(x("n", 3, 0), 3.0), build=False, name="empty"),
    Case(PINV, call(x("n", 3, 3), hermitian=True), atol=1e-4, rtol=1e-3, build=False, name="hermitian"),
    *(
        Case(f"aten.{op}", call(nearly_singular, *args, **options), atol=1e-4, rtol=1e-3, build=False, name=name)
        for op, name, args, options in (
            ("linalg_pinv.atol_rtol_float", "both", (), {"atol": 0.1, "rtol": 0.7}),
            ("linalg_pinv.atol_rtol_float", "atol", (), {"atol": 3.0}),
            ("linalg_pinv.default", "", (0.1,), {}),
            ("linalg_pinv.rcond_tensor", "", (tenth,), {}),
            ("pinverse.default", "", (0.7,), {}),
        )
    ),
]  # fmt: skip


@parametrize(CASES)
def test_singular(case: Case) -> None:
    run(case)
