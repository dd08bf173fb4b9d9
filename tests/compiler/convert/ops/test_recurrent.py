"""Recurrent layers against eager torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.compiler.convert.calls import Make, call, x
from tests.compiler.convert.harness import Case, parametrize, run


def layer(cls: Callable[..., Any], dtype: torch.dtype = torch.float32, **options: Any) -> Make:
    """The call of a layer of 4 input and 6 hidden features, on 5 steps."""

    def make(n: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        torch.manual_seed(7)
        module = cls(4, 6, **options).to(dtype)
        first, two = options.get("batch_first", False), options.get("bidirectional", False)
        count = module.num_layers * (2 if two else 1)
        data = torch.randn((n, 5, 4) if first else (5, n, 4), dtype=dtype)
        states = [torch.randn(count, n, options.get("proj_size") or 6, dtype=dtype)]
        if cls is torch.nn.LSTM:
            states.append(torch.randn(count, n, 6, dtype=dtype))
        weights = [w.detach() for w in module._flat_weights]
        state: Any = states if cls is torch.nn.LSTM else states[0]
        flags = (module.bias, module.num_layers, 0.0, False, two, first)
        return (data, state, weights, *flags), {}

    return make


LSTM, GRU, RNN = torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN
LOOSE = {"atol": 1e-4, "rtol": 1e-4}
CASES = [
    Case("aten.lstm.input", layer(LSTM), weights=(3, 4, 5, 6), **LOOSE),
    Case("aten.lstm.input", layer(LSTM, batch_first=True, bidirectional=True, num_layers=2), **LOOSE, name="deep"),
    Case("aten.lstm.input", layer(LSTM, bias=False), **LOOSE, name="no-bias"),
    Case("aten.lstm.input", layer(LSTM, proj_size=3), **LOOSE, name="projected"),
    Case("aten.lstm.input", layer(LSTM, torch.float16), atol=1e-2, rtol=1e-2, name="half"),
    Case("aten.gru.input", layer(GRU), **LOOSE),
    Case("aten.gru.input", layer(GRU, batch_first=True, bidirectional=True, num_layers=2), **LOOSE, name="deep"),
    Case("aten.gru.input", layer(GRU, bias=False), **LOOSE, name="no-bias"),
    Case("aten.rnn_tanh.input", layer(RNN), **LOOSE),
    Case("aten.rnn_relu.input", layer(RNN), **LOOSE),
    Case("aten.gru.input", call(x("n", 2, 4), x(1, 2, 6), [x(18, 4), x(18, 6)], False, 1, 0.0, False, False, False),
         refused=("argument", "static number of steps")),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
