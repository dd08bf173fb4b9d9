"""`embedding(..., max_norm=...)` of a table that is an input: torch shortens the rows that it is about to read.

rules() -> {operator: function}      for the decomposition table
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

TINY = 1e-7
"""What torch adds to a norm before it divides by it."""


def rules() -> dict[Any, Callable[..., Any]]:
    return {torch.ops.aten.embedding_renorm.default: renormed}


def renormed(
    self: torch.Tensor, indices: torch.Tensor, max_norm: float, norm_type: float
) -> torch.Tensor:
    """The table [rows, d]; each row that an index reads and whose norm is above `max_norm` is scaled to it."""
    norm = torch.linalg.vector_norm(self, norm_type, 1, True)
    unread = torch.zeros_like(self[:, :1], dtype=torch.bool)
    read = unread.index_fill(0, indices.reshape(-1), True)
    scale = torch.where(read & (norm > max_norm), max_norm / (norm + TINY), 1.0)
    return self * scale.to(self.dtype)
