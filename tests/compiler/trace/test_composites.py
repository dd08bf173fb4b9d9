"""Operators that read their data in eager torch: traced they do not, and give the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from compiler.trace import composites
from compiler.trace.export import trace
from enginebundle.format.spec import Profile, TensorSpec

X, V = torch.randn(3, 5), torch.randn(6)
F, A = torch.tensor([1, 0, 2, 3, 1]), torch.rand(5)

CASES: list[tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    *(
        (composites.covariance, torch.cov, (x,), options)
        for x in (X, X.long())
        for options in (
            {}, {"correction": 0}, {"fweights": F}, {"aweights": A}, {"fweights": F, "aweights": A},
            {"fweights": F, "correction": 0}, {"aweights": A, "correction": 2}, {"correction": 9},
        )
    ),
    (composites.covariance, torch.cov, (V,), {}),
    (composites.covariance, torch.cov, (torch.tensor(2.0),), {"correction": 0}),
    *(
        (composites.combinations, torch.combinations, (x, r, again), {})
        for x in (V, V[:0])
        for r in (0, 1, 2, 3)
        for again in (False, True)
    ),
    *((composites.narrow, torch.narrow, (X, 1, torch.tensor(s), 2), {}) for s in (0, 3, -2)),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "args", "options"), CASES)
def test_same_results(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> None:
    torch.testing.assert_close(ours(*args, **options), theirs(*args, **options), equal_nan=True)


class Uses(torch.nn.Module):
    def forward(self, x: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        start = weights[0]
        return (
            torch.cov(x, fweights=weights), torch.corrcoef(x), torch.combinations(x[0], 2),
            torch.narrow(x, 1, start, 2),
        )  # fmt: skip


def test_they_export() -> None:
    specs = (TensorSpec("x", "float32", (3, 5)), TensorSpec("weights", "int64", (5,)))
    traced = trace(Uses(), specs, (Profile("p", ()),))
    for got, want in zip(traced.module()(x=X, weights=F), Uses()(X, F), strict=True):
        torch.testing.assert_close(got, want)
