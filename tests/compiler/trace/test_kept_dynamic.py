"""Sizes that torch's or Python's own code reads as numbers stay dynamic, and the answers are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._C import DispatchKey
from torch.nn import functional

from compiler.lower import LowerRefused, decompose, lower
from compiler.lower.capture import capture
from compiler.program import run
from compiler.trace.export import trace_recorded
from enginebundle.format.spec import TensorSpec
from tests.compiler.small_models import profile


class Model(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def by_length(x: torch.Tensor) -> torch.Tensor:
    return x * torch.arange(len(x))[:, None]


def by_int(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(int(x.shape[0]), -1, 2).flip(0)


def by_list(x: torch.Tensor) -> torch.Tensor:
    return x.new_ones([int(size) for size in x.shape]) - x


def by_slice(x: torch.Tensor) -> torch.Tensor:
    return x[len(x) // 2 :].sum(0)


def by_products(x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.multi_dot([x, x.T, x])


def by_vectors(x: torch.Tensor) -> torch.Tensor:
    ends = torch.linalg.multi_dot([x[:, 0], x, x.T, x[:, 1]])
    return (
        torch.linalg.multi_dot([x[:, 0], x, x.T]) + torch.linalg.multi_dot([x, x.T, x[:, 1]]) + ends
    )


def by_pooling(x: torch.Tensor) -> torch.Tensor:
    values, places = functional.max_pool1d(x[None], 2, return_indices=True)
    return functional.max_pool1d(x[None], 3, 2, 1) + values + places


def by_kron(x: torch.Tensor) -> torch.Tensor:
    return torch.kron(x, torch.arange(6.0).reshape(2, 3))


def by_powers(x: torch.Tensor) -> torch.Tensor:
    return torch.vander(x[:, 0], 4) + torch.take_along_dim(x, x.argsort(1), 1)[:, :4]


@pytest.mark.parametrize(
    ("function", "rung"),
    [(by_length, "strict"), (by_int, "strict"), (by_list, "strict"), (by_slice, "strict_auto"),
     (by_products, "named"), (by_vectors, "named"), (by_pooling, "named"), (by_kron, "named"), (by_powers, "named")],
    ids=lambda value: getattr(value, "__name__", value),
)  # fmt: skip
def test_one_program_for_all_sizes(function: Callable[..., Any], rung: str) -> None:
    inputs = (TensorSpec("x", "float32", ("n", 6)),)
    model = Model(function)
    exported, _, served = trace_recorded(model, inputs, (profile(n=(2, 4, 9)),))
    assert served == rung
    program = capture(lower(exported), inputs)
    for n in range(2, 10):
        x = torch.randn(n, 6)
        (found,) = run(program, {"x": x}).values()
        torch.testing.assert_close(found, function(x))


def test_a_size_that_is_fixed_is_still_refused() -> None:
    from compiler.trace.export import TraceRefused

    def fixed(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([row * place for place, row in enumerate(x.unbind())])

    with pytest.raises(TraceRefused, match="fixes it to the example's"):
        trace_recorded(
            Model(fixed), (TensorSpec("x", "float32", ("n", 6)),), (profile(n=(2, 4, 9)),)
        )


def test_a_size_that_a_decomposition_reads_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own kron, which reads sizes as C++ integers."""
    inputs = (TensorSpec("x", "float32", ("n", 6)),)
    exported, _, _ = trace_recorded(Model(by_kron), inputs, (profile(n=(2, 4, 9)),))
    assert "aten.kron.default" in str(exported.graph)
    monkeypatch.delitem(
        torch.ops.aten.kron.default.py_kernels, DispatchKey.CompositeImplicitAutograd
    )
    monkeypatch.setattr(decompose, "_table", decompose._table.__wrapped__)
    monkeypatch.setattr(decompose, "_default_table", decompose._default_table.__wrapped__)
    with pytest.raises(LowerRefused, match="fixes dimension 0 of input 'x'"):
        lower(exported)
