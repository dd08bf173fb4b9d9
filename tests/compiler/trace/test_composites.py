"""Operators that read their data in eager torch: traced they do not, and give the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from compiler.trace import composites
from compiler.trace.export import trace
from enginebundle.format.spec import Profile, TensorSpec

X, V, P1 = torch.randn(3, 5), torch.randn(6), torch.randn(2, 3, 9)
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
    *(
        (composites.max_pool1d, torch.max_pool1d, (x, *window), {})
        for x in (torch.randn(2, 3, 9), torch.randn(3, 8))
        for window in ((2,), ([3], [2]), (3, 1, 1), (2, 2, 0, 2), (2, 2, 0, 1, True))
    ),
    *(
        (composites.max_pool1d_with_indices, torch.max_pool1d_with_indices, (P1, *window), {})
        for window in ((2,), ([3], [2]), (3, 1, 1), (2, 2, 0, 2), (2, 2, 0, 1, True))
    ),
    *(
        (composites.kron, torch.kron, (a, b), {})
        for a in (X, V, torch.randn(2, 3, 2), torch.tensor(2.0), torch.arange(3))
        for b in (X, V, torch.tensor(3))
    ),
    *(
        (composites.multi_dot, torch.linalg.multi_dot, (chain,), {})
        for chain in (
            [X, X.T], [X, X.T, X], [V[:3], X, X.T], [X, X.T, V[:3]], [V[:3], X, V[:5]],
            [torch.randn(2, 9), torch.randn(9, 4), torch.randn(4, 7), torch.randn(7, 1)],
        )
    ),
    *(
        (composites.take_along_dim, torch.take_along_dim, arguments, {})
        for arguments in (
            (X, X.argsort(1), 1), (X, X.argmax(1, keepdim=True), -1), (X, torch.tensor([[1]]), 0),
            (X, torch.tensor([3, 14])), (X[None], X.argsort(0)[None].expand(2, 3, 5), 1),
        )
    ),
    *(
        (composites.vander, torch.linalg.vander, (x,), {"N": count})
        for x in (V, X, torch.arange(4), torch.arange(3, dtype=torch.int32))
        for count in (None, 2, 5)
    ),
    *(
        (composites.vander, torch.linalg.vander, (x,), {"N": count})
        for x in (torch.tensor(3.0), torch.tensor(-2), V[:0], V[:1], X[:0], torch.tensor(3, dtype=torch.int8))
        for count in (2, 3, 4)
    ),
    *(
        (composites.old_vander, torch.vander, (x,), {"N": count, "increasing": up})
        for x in (V, V[:0], torch.arange(3), V[:1].half())
        for count in (None, 0, 1, 4)
        for up in (False, True)
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
