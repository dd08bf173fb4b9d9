"""Which memory tensors take: results have their own, and a written argument must share its with no other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch


def span(tensor: torch.Tensor) -> tuple[int, int]:
    """The first byte of the tensor's elements and the one behind the last; (0, 0) if it has none."""
    if not tensor.numel():
        return 0, 0
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    start = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size()


def shared(written: Iterable[int], args: Sequence[object]) -> tuple[int, int] | None:
    """The places of a written argument and another one that lies in the same memory."""
    spans = {place: span(a) for place, a in enumerate(args) if isinstance(a, torch.Tensor)}
    for place in written:
        start, end = spans[place]
        for other, (first, last) in spans.items():
            if other != place and start < last and first < end:
                return place, other
    return None


def apart(results: Sequence[torch.Tensor], given: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """The results, copied where one shares its memory with a given tensor or with one before it."""
    taken = {_storage(tensor) for tensor in given}
    own = []
    for result in results:
        if _storage(result) in taken:
            result = result.clone()
        taken.add(_storage(result))
        own.append(result)
    return own


def laid_out(tensor: torch.Tensor, order: tuple[int, ...] | None) -> torch.Tensor:
    """The tensor with its dimensions in that order in memory, as the eager graph would return it."""
    if order is None:
        return tensor.contiguous()
    back = [order.index(axis) for axis in range(len(order))]
    return tensor.permute(order).contiguous().permute(back)


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
