"""self[indices] = values, and += values."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compiler.convert.idioms.accumulate import one_hot, reduced_hits, too_large
from compiler.convert.idioms.indexing import Indexing, index_check
from compiler.convert.net import Net
from compiler.convert.registry import Table
from compiler.network.network import Size, Tensor
from enginebundle.format.graph import Value

TABLE = Table("index_put")


def _check(
    self: Value, indices: Sequence[Value | None], values: Value, accumulate: bool
) -> str | None:
    given = [v for v in indices if v is not None]
    if any(v.dtype in ("bool", "uint8") for v in given):
        return _mask_check(self, indices, values)
    reason = index_check(self, indices)
    if reason is not None or not accumulate:
        return reason
    if values.dtype == "bool":
        return "expected numbers to accumulate, got bool"
    places: int | str = 1
    for size, index in zip(self.shape, indices, strict=False):
        if index is not None:
            known = isinstance(size, int) and isinstance(places, int)
            places = places * size if known else "unknown"  # type: ignore[operator]
    return too_large(values.shape, places)


def _mask_check(self: Value, indices: Sequence[Value | None], values: Value) -> str | None:
    """Why a bool mask cannot be converted. One mask, with the same values everywhere, is a selection."""
    given = [v for v in indices if v is not None]
    if len(given) != 1 or given[0].dtype != "bool":
        return "expected a single bool mask, got masks beside other indices"
    start = next(i for i, v in enumerate(indices) if v is not None)
    behind = len(self.shape) - start - len(given[0].shape)
    if len(values.shape) > behind and values.shape[-behind - 1] != 1:
        return (
            "expected one value for all True elements of a bool mask, got values of shape "
            f"{values.shape}, whose number depends on data"
        )
    return None


@TABLE.converter("aten.index_put.default", "aten._unsafe_index_put.default", check=_check)
def index_put(
    net: Net, self: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool
) -> Tensor:
    """self with values, broadcast to self[indices], written or added there."""
    given = [t for t in indices if t is not None]
    if not given:
        whole = net.expand(values, net.sizes(self))
        return net.add(self, whole) if accumulate else whole
    if given[0].dtype == torch.bool:
        return _masked(net, self, indices, given[0], values, accumulate)
    indexing = Indexing(net, self, indices)
    count, depth = indexing.merged.ndim - 1, indexing.flat.ndim
    before, rest = indexing.first, indexing.merged.ndim - 1
    # The merged dim first: data [places, rest], updates [index, rest].
    data = net.transpose(indexing.merged, _front(indexing.merged.ndim, before, 1))
    merged_sizes = net.sizes(indexing.merged)
    target: list[Size] = [
        *merged_sizes[:before],
        *net.sizes(indexing.flat),
        *merged_sizes[before + 1 :],
    ]
    updates = net.transpose(net.expand(values, target), _front(count + depth, before, depth))
    if accumulate:
        result = _added(net, data, indexing.flat, updates, rest)
    else:
        result = net.scatter_nd(data, net.unsqueeze(indexing.flat, [depth]), updates)
    restored = net.transpose(result, [*range(1, before + 1), 0, *range(before + 1, rest + 1)])
    moved = net.reshape(restored, indexing.moved_sizes) if len(indexing.axes) > 1 else restored
    return net.transpose(moved, [indexing.order.index(i) for i in range(self.ndim)])


def _front(rank: int, start: int, count: int) -> list[int]:
    """The order of dims that brings dims start .. start + count to the front."""
    return [*range(start, start + count), *range(start), *range(start + count, rank)]


def _added(net: Net, data: Tensor, flat: Tensor, updates: Tensor, rest: int) -> Tensor:
    """data [places, rest] plus the sum of the updates at each place."""
    sizes = net.sizes(data)
    positions = net.reshape(flat, [-1])
    values = net.reshape(updates, [net.size(positions, 0), *sizes[1:]])
    hits = one_hot(net, positions, sizes[0])
    hits = net.unsqueeze(hits, range(2, rest + 2))
    found, _ = reduced_hits(net, hits, net.unsqueeze(values, [1]), 0, "SUM", data.dtype)
    return net.add(data, found)


def _masked(
    net: Net, x: Tensor, indices: Sequence[Tensor | None], mask: Tensor, values: Tensor, accumulate: bool
) -> Tensor:  # fmt: skip
    """A selection between values and x: every True element of the mask gets the same values."""
    start = next(i for i, t in enumerate(indices) if t is not None)
    behind = x.ndim - start - mask.ndim
    wide = net.unsqueeze(mask, range(mask.ndim, mask.ndim + behind))
    if values.ndim > behind:  # one dim of size one stands for all of the mask's dims
        at = values.ndim - behind
        values = net.unsqueeze(values, range(at, at + mask.ndim - 1))
    chosen = net.add(x, values) if accumulate else values
    return net.select(wide, chosen, x)
