"""`x.resize_(...)` of a tensor that forward made itself: the same numbers in order, in another shape.

    rules() -> {operator: function}      for the decomposition table

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


def resized(
    self: torch.Tensor, size: Sequence[int], *, memory_format: torch.memory_format | None = None
) -> torch.Tensor:
    if not self.is_contiguous() or memory_format not in (None, torch.contiguous_format):
        return NotImplemented  # type: ignore[no-any-return]  # its memory is in another order
    flat, wanted = self.reshape(-1), math.prod(size)
    if flat.shape[0] < wanted:
        flat = torch.cat((flat, flat.new_zeros(wanted - flat.shape[0])))
    return flat[:wanted].reshape(size)
