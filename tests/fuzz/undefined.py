"""Calls whose result eager torch itself does not define: every exclusion follows a stated rule.

    undefined(sample) -> the reason, or an empty text

The rules look at the call itself, not at its name.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from tests.opinfo.samples import Sample


def undefined(sample: Sample) -> str:
    """Why there is no right result to compare with; an empty text if there is one."""
    with torch.no_grad():
        found = _tensors(sample.module(*sample.inputs()))
        if _unwritten(sample, found):
            return "uninitialised memory"
        if _searches_unsorted(sample):
            return "a binary search in numbers that are not sorted"
        return _contradiction(sample, found)


def _tensors(result: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, torch.Tensor)]


# -- memory that nobody wrote ------------------------------------------------------------------


def _unwritten(sample: Sample, found: list[torch.Tensor]) -> bool:
    """Whether what torch fills new memory with shows in a result, where it does not show otherwise."""
    with _filled_memory():
        filled = _tensors(sample.module(*sample.inputs()))
    return any(bool((_marked(b) & ~_marked(a)).any()) for a, b in zip(found, filled, strict=True))


@contextmanager
def _filled_memory() -> Iterator[None]:
    """New memory holds NaN, or the largest integer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(False)


def _marked(x: torch.Tensor) -> torch.Tensor:
    """Where a tensor holds what new memory is filled with."""
    if x.layout != torch.strided or x.is_quantized or x.dtype == torch.bool:
        return torch.tensor(False)
    if x.is_floating_point() or x.is_complex():
        return x.isnan()
    return x == torch.iinfo(x.dtype).max


# -- a search in numbers that are not sorted ---------------------------------------------------


class _Searches(TorchDispatchMode):
    """Notices a search whose sequence does not ascend."""

    def __init__(self) -> None:
        super().__init__()
        self.unsorted = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name in ("aten::searchsorted", "aten::bucketize"):
            sequence, sorter = args[name == "aten::bucketize"], kwargs.get("sorter")
            if sorter is not None:
                sequence = sequence.gather(-1, sorter)
            ascends = sequence[..., 1:] >= sequence[..., :-1]
            self.unsorted |= not bool(ascends.all())
        return func(*args, **kwargs)


def _searches_unsorted(sample: Sample) -> bool:
    with _Searches() as searches:
        sample.module(*sample.inputs())
    return searches.unsorted


# -- results of which torch says two things ----------------------------------------------------


def _contradiction(sample: Sample, found: list[torch.Tensor]) -> str:
    """Where the shapes that torch itself foresees, and that torch.export writes down, are not those of its CPU
    kernel (`pixel_unshuffle` of no images: it returns its input)."""
    mode = FakeTensorMode()
    inputs = [mode.from_tensor(tensor) for tensor in sample.inputs()]
    try:
        with mode:
            foreseen = [tuple(t.shape) for t in _tensors(sample.module(*inputs))]
    except Exception:  # noqa: BLE001 - torch foresees nothing: sizes that data decide, no rule for it
        return ""
    shapes = [tuple(t.shape) for t in found]
    if foreseen == shapes or not all(isinstance(n, int) for one in foreseen for n in one):
        return ""
    return f"torch contradicts itself: it foresees {foreseen} and computes {shapes}"
