"""Composite operators that read their data on the host, rewritten so that they do not.

torch.export can't follow a number out of a tensor. These operators read one only to check it, or to
find positions that do not depend on data; written differently, they export.

    install() -> None       call it before tracing; the operators' results do not change
"""

from __future__ import annotations

import functools
import itertools

import torch
from torch._C import DispatchKey

Tensor = torch.Tensor


@functools.cache
def install() -> None:
    """Use these forms of the operators wherever torch traces; eager calls keep torch's own."""
    for op, function in (
        (torch.ops.aten.cov.default, covariance),
        (torch.ops.aten.combinations.default, combinations),
        (torch.ops.aten.narrow.Tensor, narrow),
    ):
        op.py_impl(DispatchKey.CompositeImplicitAutograd)(function)


def covariance(
    self: Tensor, *, correction: int = 1, fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """torch.cov of variables [rows, observations], without checking the weights' signs."""
    x = self if self.ndim == 2 else self.reshape(1, -1)
    weights = [w for w in (fweights, aweights) if w is not None]
    w = functools.reduce(torch.mul, weights) if weights else None
    count = x.shape[1]
    total = count if w is None else w.sum()
    mean = (x if w is None else x * w).sum(1) / total
    degrees: Tensor | int | float = total
    if w is None:
        degrees = max(count - correction, 0)
    elif correction and aweights is None:
        degrees = total - correction
    elif correction and aweights is not None:
        degrees = total - correction * (w * aweights).sum() / total
    if isinstance(degrees, Tensor):
        degrees = degrees.clamp(min=0)
    centred = x - mean.unsqueeze(1)
    weighted = centred if w is None else centred * w
    return (torch.mm(centred, weighted.mT.conj()) / degrees).squeeze()


def combinations(self: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """torch.combinations of a vector of known size: the positions do not depend on its elements."""
    if not r:
        return self.new_empty(0)
    return self[positions(int(self.shape[0]), r, with_replacement)]


def positions(count: int, r: int, with_replacement: bool) -> Tensor:
    """int64 [combinations, r]: which of `count` elements are in each, as itertools orders them."""
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    return torch.tensor(list(choose(range(count), r)), dtype=torch.int64).reshape(-1, r)


def narrow(self: Tensor, dim: int, start: Tensor, length: int) -> Tensor:
    """torch.narrow with its start in a tensor, which decides which elements, not how many."""
    first = torch.where(start < 0, start + self.shape[dim], start)
    return self.index_select(dim, first + torch.arange(length, device=self.device))
