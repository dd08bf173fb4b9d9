"""`x.resize_(...)` of a tensor that forward made itself: the same numbers in order, in another shape.

    rules() -> {operator: function}      for the decomposition table
    is_left(node) -> bool                a call that the rule leaves to the pass about strides

What it is larger by is memory that nobody wrote, which reads as zeros, as that of `torch.empty`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

aten = torch.ops.aten


def rules() -> dict[Any, Callable[..., Any]]:
    return {aten.resize.default: resized}


def is_left(node: torch.fx.Node) -> bool:
    if node.target is not aten.resize.default:
        return False
    (source,) = node.all_input_nodes[:1]
    return not _in_order(source.meta["val"], node.kwargs.get("memory_format"))


def _in_order(x: torch.Tensor, memory_format: Any) -> bool:
    return x.is_contiguous() and memory_format in (None, torch.contiguous_format)


def resized(
    self: torch.Tensor, size: Sequence[int], *, memory_format: torch.memory_format | None = None
) -> torch.Tensor:
    if not _in_order(self, memory_format):
        return NotImplemented  # type: ignore[no-any-return]  # its memory is in another order
    flat, wanted = self.reshape(-1), math.prod(size)
    if flat.shape[0] < wanted:
        flat = torch.cat((flat, flat.new_zeros(wanted - flat.shape[0])))
    return flat[:wanted].reshape(size)
