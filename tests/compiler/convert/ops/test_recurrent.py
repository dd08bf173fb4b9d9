"""Recurrent layers against eager torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.compiler.convert.calls import Make, call, x
from tests.compiler.convert.harness import Case, parametrize, run


def layer(
    cls: Callable[..., Any], steps: Callable[[int], int] = lambda n: 5, batch: int | None = None,
    dtype: torch.dtype = torch.float32, **options: Any,
) -> Make:  # fmt: skip
    """The call of a layer of 4 input and 6 hidden features; the batch is n unless it is given."""

    def make(n: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        torch.manual_seed(7)
        module = cls(4, 6, **options).to(dtype)
        first, two = options.get("batch_first", False), options.get("bidirectional", False)
        count, b, t = module.num_layers * (2 if two else 1), batch or n, steps(n)
        data = torch.randn((b, t, 4) if first else (t, b, 4), dtype=dtype)
        states = [torch.randn(count, b, options.get("proj_size") or 6, dtype=dtype)]
        if cls is torch.nn.LSTM:
            states.append(torch.randn(count, b, 6, dtype=dtype))
        weights = [w.detach() for w in module._flat_weights]
        state: Any = states if cls is torch.nn.LSTM else states[0]
        flags = (module.bias, module.num_layers, 0.0, False, two, first)
        return (data, state, weights, *flags), {}

    return make


LSTM, GRU, RNN = torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN
LOOSE: dict[str, Any] = {"atol": 1e-4, "rtol": 1e-4}
KINDS: list[tuple[str, Callable[..., Any], dict[str, Any]]] = [
    ("aten.lstm.input", LSTM, {}), ("aten.gru.input", GRU, {}),
    ("aten.rnn_tanh.input", RNN, {}), ("aten.rnn_relu.input", RNN, {"nonlinearity": "relu"}),
]  # fmt: skip
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("plain", {}), ("no-bias", {"bias": False}), ("batch-first", {"batch_first": True}),
    ("deep", {"batch_first": True, "bidirectional": True, "num_layers": 2}),
    ("three", {"num_layers": 3}), ("bare-both-ways", {"bidirectional": True, "bias": False}),
]  # fmt: skip
LENGTHS: list[tuple[str, Callable[[int], int]]] = [
    ("one", lambda n: 1), ("static", lambda n: 13), ("dynamic", lambda n: 3 * n - 5)
]  # fmt: skip
CASES = [
    *(
        Case(op, layer(cls, steps, **options, **more), **LOOSE, name=f"{form}-{length}",
             build=form == "deep" or (length == "dynamic" and op == "aten.lstm.input"))
        for op, cls, options in KINDS
        for form, more in FORMS
        for length, steps in LENGTHS
    ),
    *(
        Case("aten.lstm.input", layer(LSTM, steps, **more), **LOOSE, name=f"{form}-projected-{length}",
             build=form == "plain" and length == "dynamic")
        for form, more in (
            ("plain", {"proj_size": 3}), ("deep", {"proj_size": 2, "bidirectional": True, "num_layers": 2}),
        )
        for length, steps in LENGTHS
    ),
    *(
        Case(op, layer(cls, steps, dtype=torch.float16, **options), atol=1e-2, rtol=1e-2, name=f"half-{length}",
             build=length == "dynamic")
        for op, cls, options in KINDS
        for length, steps in LENGTHS
    ),
    # The weights in the engine, and a batch of one that is a number.
    *(
        Case("aten.lstm.input", layer(LSTM, steps), weights=(3, 4, 5, 6), **LOOSE, name=f"weights-{length}")
        for length, steps in LENGTHS
    ),
    *(
        Case(op, layer(cls, lambda n: n, batch=1, **options), **LOOSE, name="one")
        for op, cls, options in KINDS
    ),
    Case("aten.gru.input", call(x(3, "n", 4), x(2, "n", 6), [x(18, 4), x(18, 6), x(18, 6), x(18, 6)], False, 2,
                                0.5, True, False, False),
         refused=("argument", "no dropout at inference"), name="dropout"),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
