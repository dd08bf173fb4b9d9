"""Every degree up to ten, inside and outside of [-1, 1]; NaN above the highest degree."""

from __future__ import annotations

import pytest
import torch

from compiler.convert.special import polynomials
from compiler.network.evaluate import evaluate
from tests.compiler.convert.calls import call
from tests.compiler.convert.harness import Case, Converted, converted, parametrize, run

OPS = sorted(op for op in polynomials.TABLE.rows if op.endswith(".default"))


def places(n: int) -> torch.Tensor:
    """[n, 41, 1]."""
    numbers = torch.cat([torch.linspace(-1.3, 1.3, 38), torch.tensor([-1.0, 1.0, 0.0])])
    return numbers.unsqueeze(1).repeat(n, 1, 1)


def degrees(n: int) -> torch.Tensor:
    return torch.tensor([-2.0, 0.0, 1.0, 2.7, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0])


CASES = [
    *(Case(op, call(places, degrees), rtol=1e-3, atol=1e-3, build=op.endswith("_t.default")) for op in OPS),
    Case("aten.special_legendre_polynomial_p.n_scalar", call(places, 3), rtol=1e-4, build=False),
    Case("aten.special_hermite_polynomial_h.x_scalar", call(0.5, lambda n: degrees(n).repeat(n, 1)), rtol=1e-4,
         build=False),
]  # fmt: skip


@parametrize(CASES)
def test_polynomials(case: Case) -> None:
    run(case)


@pytest.mark.parametrize(("x", "defined"), [(0.5, True), (1.5, False)])
def test_a_degree_above_the_limit(x: float, defined: bool) -> None:
    made = lambda value: lambda n: torch.full((n,), value)  # noqa: E731
    found = converted(
        Case("aten.special_chebyshev_polynomial_t.default", call(made(x), made(40.0)))
    )
    assert isinstance(found, Converted)
    (got,) = evaluate(found.network, found.feeds[0]).values()
    assert got.isnan().any().item() is not defined
    if defined:
        torch.testing.assert_close(got, *found.wants[0].values())
