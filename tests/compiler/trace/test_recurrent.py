"""What a trace sees of recurrent layers: the sizes of their results, without a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from compiler.trace import composites

LAYERS: dict[str, Callable[..., nn.Module]] = {
    "lstm": nn.LSTM, "gru": nn.GRU, "tanh": nn.RNN, "relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
}  # fmt: skip
FORMS: tuple[dict[str, Any], ...] = (
    {}, {"bias": False}, {"batch_first": True}, {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3, "bidirectional": True, "batch_first": True},
)  # fmt: skip
CALLS = [
    *((kind, form) for kind in LAYERS for form in FORMS),
    ("lstm", {"proj_size": 3}),
    ("lstm", {"proj_size": 2, "num_layers": 2, "bidirectional": True, "batch_first": True}),
]


def leaves(found: Any) -> list[torch.Tensor]:
    return list(torch.utils._pytree.tree_leaves(found))


@pytest.mark.parametrize(("kind", "form"), CALLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_results_without_data_are_like_real_ones(
    kind: str, form: dict[str, Any], dtype: torch.dtype
) -> None:
    composites.install()
    layer = LAYERS[kind](4, 6, **form).to(dtype).eval()
    x = torch.randn(5, 3, 4, dtype=dtype)
    with torch.no_grad():
        want = leaves(layer(x))
        with FakeTensorMode(allow_non_fake_inputs=True) as mode, enable_python_dispatcher():
            found = leaves(layer(mode.from_tensor(x)))
    for one, two in zip(found, want, strict=True):
        assert isinstance(one, FakeTensor)
        assert (one.shape, one.stride(), one.dtype) == (two.shape, two.stride(), two.dtype)


@pytest.mark.parametrize("kind", LAYERS)
def test_results_with_data_stay_torchs_own(kind: str) -> None:
    composites.install()
    layer = LAYERS[kind](4, 6, bidirectional=True).eval()
    weights, x = dict(layer.named_parameters()), torch.randn(3, 2, 4)

    def call(weights: dict[str, torch.Tensor], x: torch.Tensor) -> Any:
        return torch.func.functional_call(layer, weights, (x,))

    with torch.no_grad():
        want = leaves(layer(x))
        with enable_python_dispatcher():
            found = [leaves(layer(x))]
        for mode in ("real", "symbolic"):
            written = make_fx(call, tracing_mode=mode)(weights, x)
            found.append(leaves(written(weights, x)))
    for results in found:
        for one, two in zip(results, want, strict=True):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)
