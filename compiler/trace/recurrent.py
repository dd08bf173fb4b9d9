"""The sizes of recurrent layers' results, found without taking a step.

Torch finds them by running the layer's own code on tensors without data, one step after another. That
takes seconds, and fixes the number of steps.

    install() -> None       part of composites.install
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._C import DispatchKey
from torch._decomp import decomposition_table
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

Tensor = torch.Tensor


def install() -> None:
    """Use these sizes wherever torch traces; where it decomposes the operators, they are its own."""
    aten = torch.ops.aten
    for op in (aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input):
        own = decomposition_table[op]
        ours = functools.wraps(own)(functools.partial(_sizes_only, own))
        decomposition_table[op] = ours
        for key in (DispatchKey.CompositeImplicitAutograd, DispatchKey.Autograd):
            del op.py_kernels[key]
            op.py_impl(key)(ours)


def _sizes_only(
    own: Callable[..., Any], input: Tensor, hx: Tensor | Sequence[Tensor],  # noqa: A002  (torch's name)
    params: Sequence[Tensor],
    has_biases: bool, num_layers: int, dropout: float, train: bool, bidirectional: bool,
    batch_first: bool,
) -> Any:  # fmt: skip
    """Results of `own`'s sizes and strides, without data, for an input that has none either."""
    if not isinstance(input, FakeTensor) or get_proxy_mode() is not None:
        flags = (has_biases, num_layers, dropout, train, bidirectional, batch_first)
        return own(input, hx, params, *flags)
    states = [hx] if isinstance(hx, Tensor) else list(hx)
    x = input.transpose(0, 1) if batch_first else input
    directions = 2 if bidirectional else 1
    output = x.new_empty((x.shape[0], x.shape[1], directions * states[0].shape[2]))
    last = [state.new_empty(state.shape) for state in states]
    return output.transpose(0, 1) if batch_first else output, *last
