"""QR and products of reflections, against LAPACK's, including signs."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import Make, call, x
from tests.compiler.convert.harness import Case, parametrize, run


def reflections(rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.geqrf(torch.randn(rows, columns))


def made(rows: int, columns: int, *more: object) -> Make:
    def make(n: int) -> tuple[tuple[object, ...], dict[str, object]]:
        packed, tau = (t.repeat(n, *[1] * t.ndim) for t in reflections(rows, columns))
        return (packed, tau, *(m(n) if callable(m) else m for m in more)), {}

    return make


def zeros_below(n: int) -> torch.Tensor:
    """Columns with nothing to reflect, positive and negative."""
    return torch.tensor([[2.0, 1.0], [0.0, -3.0], [0.0, 0.0]]).repeat(n, 1, 1)


QR = "aten.linalg_qr.default"

CASES = [
    Case("aten.geqrf.default", call(x("n", 4, 3)), rtol=1e-4, atol=1e-4),
    Case("aten.geqrf.default", call(x("n", 2, 3, 5)), rtol=1e-4, atol=1e-4, name="wide"),
    Case("aten.geqrf.default", call(zeros_below), name="flat"),
    Case("aten.geqrf.default", call(x("n", "n")), refused=("argument", "static"), name="dynamic"),
    *(
        Case(QR, call(x("n", *sizes), mode), rtol=1e-4, atol=1e-4, build=mode == "complete",
             name=f"{mode} {sizes}")
        for mode in ("reduced", "complete", "r")
        for sizes in ((4, 3), (3, 4), (3, 3))
    ),
    Case("aten.linalg_householder_product.default", made(5, 3), rtol=1e-4, atol=1e-5),
    *(
        Case("aten.ormqr.default", made(4, 4, x("n", *sizes), left, transpose), rtol=1e-4, atol=1e-4,
             build=left, name=f"{left} {transpose}")
        for left, sizes in ((True, (4, 2)), (False, (2, 4)))
        for transpose in (False, True)
    ),
]  # fmt: skip


@parametrize(CASES)
def test_householder(case: Case) -> None:
    run(case)
