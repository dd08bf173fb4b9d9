"""What `nn.TransformerEncoder` and `nn.TransformerDecoder` ask of a mask: whether it is the causal one.

    as_given()      a context, around torch.export and around eager runs to compare with

They compare its values, which tracing can't follow, only to choose a faster kernel for the causal mask. The
answer no is right for every mask, which is then applied as it is given. Eager layers have a faster kernel of
their own besides, which takes every number in a mask but 0 for -inf (torch 2.13): a relative position's bias gives
NaN there, and the right result without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.modules import transformer


@contextmanager
def as_given() -> Iterator[None]:
    """While open, a mask counts as causal only where the caller says so, and its numbers are added."""
    own, fast = transformer._detect_is_causal_mask, torch.backends.mha.get_fastpath_enabled()

    def hint(
        mask: torch.Tensor | None, is_causal: bool | None = None, size: int | None = None
    ) -> bool:
        return is_causal is True

    transformer._detect_is_causal_mask = hint
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        transformer._detect_is_causal_mask = own
