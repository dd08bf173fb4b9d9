"""`self.gate = self.gate.to(self.dtype)` in forward, as routers of experts have it.

    as_they_are()       a context, around torch.export

While torch traces, it can't exchange a module's parameters. A cast to what they are already exchanges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def as_they_are() -> Iterator[None]:
    """While open, `Module.to` of the dtype that all its floats have gives the module itself, untouched."""
    own = nn.Module.to

    def to(self: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        given = (*args, *kwargs.values())
        if len(given) == 1 and isinstance(given[0], torch.dtype):
            tensors = (*self.parameters(), *self.buffers())
            if all(t.dtype == given[0] for t in tensors if t.is_floating_point()):
                return self
        return own(self, *args, **kwargs)

    nn.Module.to = to  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.to = own  # type: ignore[method-assign]
