"""Composite operators that read data or sizes on the host, rewritten so that they do not.

torch.export can't follow a number out of a tensor, and a size that torch's own code reads as a C++
integer is fixed for ever. Some of these operators read a number only to check it, or to find positions
that do not depend on data, the others a size only to pass it on; written differently, they export.

    install() -> None       call it before tracing; the operators' results do not change
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch._C import DispatchKey

from compiler.trace import recurrent

Tensor = torch.Tensor


@functools.cache
def install() -> None:
    """Use these forms of the operators wherever torch traces; eager calls keep torch's own."""
    recurrent.install()
    for op, function in (
        (torch.ops.aten.cov.default, covariance),
        (torch.ops.aten.combinations.default, combinations),
        (torch.ops.aten.narrow.Tensor, narrow),
        (torch.ops.aten.max_pool1d.default, max_pool1d),
        (torch.ops.aten.max_pool1d_with_indices.default, max_pool1d_with_indices),
        (torch.ops.aten.kron.default, kron),
        (torch.ops.aten.linalg_multi_dot.default, multi_dot),
        (torch.ops.aten.chain_matmul.default, multi_dot),
        (torch.ops.aten.take_along_dim.default, take_along_dim),
        (torch.ops.aten.tensor_split.sections, tensor_split),
        (torch.ops.aten.linalg_vander.default, vander),
        (torch.ops.aten.vander.default, old_vander),
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


def max_pool1d(self: Tensor, *window: Any) -> Tensor:
    """torch.max_pool1d of [batch, channels, steps] or [channels, steps], with max_pool2d's arguments."""
    return torch.max_pool2d(self.unsqueeze(-2), *_flat_window(*window)).squeeze(-2)


def max_pool1d_with_indices(self: Tensor, *window: Any) -> tuple[Tensor, Tensor]:
    """The largest elements and their places along the steps."""
    flat = self.unsqueeze(-2)
    values, indices = torch.ops.aten.max_pool2d_with_indices(flat, *_flat_window(*window))
    return values.squeeze(-2), indices.squeeze(-2)


def _flat_window(
    kernel: Sequence[int], stride: Sequence[int] = (), padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,), ceil_mode: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """A window along steps as one over rows of height 1."""
    first = (kernel, stride or kernel, padding, dilation)
    sizes = [one[0] if isinstance(one, list | tuple) else one for one in first]
    return *([rest, size] for rest, size in zip((1, 1, 0, 1), sizes, strict=True)), ceil_mode


def kron(self: Tensor, other: Tensor) -> Tensor:
    """torch.kron: each element of one times the whole other."""
    ndim = max(self.ndim, other.ndim)
    a, b = (t.reshape((1,) * (ndim - t.ndim) + tuple(t.shape)) for t in (self, other))
    pairs = [(n, m) for n, m in zip(a.shape, b.shape, strict=True)]
    a = a.reshape([size for n, _ in pairs for size in (n, 1)])
    b = b.reshape([size for _, m in pairs for size in (1, m)])
    return (a * b).reshape([n * m for n, m in pairs])


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """torch.linalg.multi_dot: in torch's own order, the cheapest, if all sizes are numbers; else from left
    to right."""
    if all(isinstance(size, int) for tensor in tensors for size in tensor.shape):
        found: Tensor = torch.ops.aten.linalg_multi_dot.default._op_dk(
            DispatchKey.CompositeImplicitAutograd, tensors
        )
        return found
    first, last = tensors[0], tensors[-1]
    chain = list(tensors)
    if first.ndim == 1:
        chain[0] = first.unsqueeze(0)
    if last.ndim == 1:
        chain[-1] = last.unsqueeze(1)
    result = functools.reduce(torch.mm, chain)
    if last.ndim == 1:
        result = result.squeeze(1)
    return result.squeeze(0) if first.ndim == 1 else result


def take_along_dim(self: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """torch.take_along_dim: both are broadcast, except along `dim`."""
    if dim is None:
        return self.reshape(-1).gather(0, indices.reshape(-1))
    axis = dim % self.ndim
    sizes = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        *((*t.shape[:axis], 1, *t.shape[axis + 1 :]) for t in (self, indices))
    )
    wide = [t.expand(*sizes[:axis], t.shape[axis], *sizes[axis + 1 :]) for t in (self, indices)]
    return wide[0].gather(axis, wide[1])


def tensor_split(self: Tensor, sections: int, dim: int = 0) -> list[Tensor]:
    """torch.tensor_split: the first parts are one larger where the size leaves a rest."""
    each, rest = self.shape[dim] // sections, self.shape[dim] % sections
    starts = [part * each + torch.sym_min(part, rest) for part in range(sections)]  # type: ignore[no-untyped-call]
    ends = [*starts[1:], self.shape[dim]]
    return [self.narrow(dim, start, end - start) for start, end in zip(starts, ends, strict=True)]


def vander(x: Tensor, *, N: int | None = None) -> Tensor:  # noqa: N803  (torch's name)
    """torch.linalg.vander: the powers 0 to N - 1 of each element, along a new last axis. A tensor without
    dimensions counts as a vector of one element."""
    x = x if x.ndim else x.unsqueeze(0)
    count = x.shape[-1] if N is None else N
    if x.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        x = x.long()
    ones = x.unsqueeze(-1).new_ones((*x.shape, 1))
    return torch.cat([ones, x.unsqueeze(-1).expand(*x.shape, count - 1)], -1).cumprod(-1)


def old_vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:  # noqa: N803
    """torch.vander of a vector: the largest power first unless `increasing`; N may be 0."""
    count = x.shape[0] if N is None else N
    if isinstance(count, int) and not count:
        return vander(x, N=1)[:, :0]
    result = vander(x, N=count)
    return result if increasing else result.flip(-1)
