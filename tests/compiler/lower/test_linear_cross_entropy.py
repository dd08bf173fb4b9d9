"""linear_cross_entropy in chunks lowers to ATen, with the numbers of torch's own operators."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compiler.convert.library import REGISTRY
from compiler.lower import lower
from compiler.trace.export import trace
from tests.compiler.small_models import profile, spec

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch.nn.modules.linear_cross_entropy_options") is None,
    reason="this torch has no linear_cross_entropy in chunks",
)


class Loss(nn.Module):
    def __init__(self, dtype: torch.dtype, **options: Any) -> None:
        super().__init__()
        self.register_buffer("head", torch.randn(7, 4).to(dtype))
        self.register_buffer("bias", torch.randn(7).to(dtype))
        self.register_buffer("weight", torch.rand(7).to(dtype))
        self.options = options

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        from torch.nn.modules.linear_cross_entropy_options import LinearCrossEntropyOptions

        chunks = LinearCrossEntropyOptions(batch_chunk_size=2, chunking_method=None)
        found: Tensor = nn.functional.linear_cross_entropy(
            x, self.head, target, linear_bias=self.bias, weight=self.weight, options=chunks,
            **self.options,
        )  # fmt: skip
        return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("ignored", [-100, 2])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_same_numbers(reduction: str, ignored: int, dtype: torch.dtype) -> None:
    model = Loss(dtype, reduction=reduction, ignore_index=ignored)
    name = str(dtype).removeprefix("torch.")
    # Torch (2.13) itself takes chunks of a batch of known size only.
    inputs = (spec("x", name, 6, 4), spec("target", "int64", 6))
    exported = trace(model, inputs, (profile(),))
    assert any("torch_nn." in str(n.target) for n in exported.graph.nodes), "not what is tested"
    made = lower(exported, REGISTRY.ops())
    assert not any("torch_nn." in str(n.target) for n in made.graph.nodes)
    x = torch.randn(6, 4).to(dtype)
    for target in (torch.tensor([0, 2, 6, 2, 1, ignored]), torch.full((6,), ignored)):
        # Where nothing counts, the mean is NaN.
        got, want = made.module()(x=x, target=target), model(x, target)
        torch.testing.assert_close(got, want, equal_nan=True)
        if reduction == "mean" and (target == ignored).all():
            assert got.isnan()
