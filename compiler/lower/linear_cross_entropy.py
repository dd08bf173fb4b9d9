"""torch.nn.functional.linear_cross_entropy's chunked operators, as `linear` and `cross_entropy`.

    rules() -> {operator: function}      for the decomposition table; empty where torch has none

They save memory by never holding all logits at once, and compute gradients on the way, which
inference does not need. TensorRT plans its own memory.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

_MODULE = "torch.nn.modules.linear_cross_entropy"


def rules() -> dict[Any, Callable[..., Any]]:
    """The functions that replace the operators, which torch 2.13 registers on first use."""
    if importlib.util.find_spec(_MODULE) is None:
        return {}
    importlib.import_module(_MODULE)
    found: dict[str, Callable[..., Any]] = {
        "_linear_cross_entropy_batch_chunked": reduced,
        "_linear_cross_entropy_batch_chunked_no_reduction": unreduced,
    }
    packets = {name: getattr(torch.ops.torch_nn, name, None) for name in found}
    return {packet.default: found[name] for name, packet in packets.items() if packet is not None}


def reduced(
    x: Tensor, linear_weight: Tensor, target: Tensor, bias: Tensor | None, weight: Tensor | None,
    reduction: str, ignore_index: int, label_smoothing: float, batch_chunk_size: int,
    acc_policy: str, acc_dtype: torch.dtype, allow_retain_graph: bool, *gradients: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The loss, and gradients that nobody asked for: empty."""
    if any(gradients):
        raise NotImplementedError("linear_cross_entropy's gradients")
    loss = _loss(
        x, linear_weight, target, bias, weight, reduction, ignore_index, acc_dtype, label_smoothing
    )
    return loss, x.new_empty(0, 0), x.new_empty(0, 0), x.new_empty(0)


def unreduced(
    x: Tensor, linear_weight: Tensor, target: Tensor, bias: Tensor | None, weight: Tensor | None,
    ignore_index: int, batch_chunk_size: int, acc_policy: str, acc_dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """A loss for each row."""
    return _loss(x, linear_weight, target, bias, weight, "none", ignore_index, acc_dtype, 0.0)


def _loss(
    x: Tensor, linear_weight: Tensor, target: Tensor, bias: Tensor | None, weight: Tensor | None,
    reduction: str, ignore_index: int, dtype: torch.dtype, label_smoothing: float,
) -> Tensor:  # fmt: skip
    """The loss, computed throughout in the dtype that chunks are summed in: the most precise policy."""

    def wide(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(dtype)

    logits = linear(x.to(dtype), linear_weight.to(dtype), wide(bias))
    loss = cross_entropy(
        logits, target, wide(weight), ignore_index=ignore_index, reduction=reduction,
        label_smoothing=label_smoothing,
    )  # fmt: skip
    return loss.to(x.dtype)
