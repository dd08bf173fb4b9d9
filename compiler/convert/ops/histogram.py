"""Counts of numbers in bins.

Every number is compared with every bin. This is exact, but needs numbers x bins intermediate elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from compiler.convert.idioms.accumulate import one_hot, too_large
from compiler.convert.net import Net, Scalar
from compiler.convert.registry import FLOATS, NUMBERS, Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("histogram")

_FLOATS = Support(dtypes=FLOATS)


# -- bins ----------------------------------------------------------------------------------


def _edges(net: Net, x: Tensor, bins: int, bounds: Sequence[float] | None, around: float) -> Tensor:
    """bins + 1 edges of equal bins between `bounds`, or across the range of the numbers x [n].

    Equal bounds are moved apart by `around` on either side.
    """
    if bounds is not None:
        low, high = (net.scalar(float(b), torch.float32) for b in bounds)
    elif x.shape[0] == 0:
        low, high = net.scalar(0.0, torch.float32), net.scalar(1.0, torch.float32)
    else:
        low, high = (net.reduce(x, op, [0], False) for op in ("MIN", "MAX"))
    flat = net.equal(low, high)
    low = net.select(flat, net.sub(low, around), low)
    high = net.select(flat, net.add(high, around), high)
    index = torch.arange(bins + 1, dtype=torch.float32)
    step = net.div(net.sub(high, low), float(bins))
    left = net.add(low, net.mul(net.constant(index), step))
    right = net.sub(high, net.mul(net.constant(bins - index), step))
    return net.select(net.constant(index < (bins + 1) // 2), left, right)


def _hits(net: Net, x: Tensor, edges: Tensor) -> Tensor:
    """bool [n, bins]: edge <= number < next edge; the last bin includes its upper edge."""
    count = edges.shape[0]
    assert count is not None
    column = net.reshape(x, [-1, 1])
    low = net.unsqueeze(net.narrow(edges, 0, 0, count - 1), [0])
    high = net.unsqueeze(net.narrow(edges, 0, 1, count - 1), [0])
    above = net.unary(net.compare(column, low, "LESS"), "NOT")
    at_end = net.elementwise(
        net.equal(column, high), net.constant(torch.arange(count - 1) == count - 2), "AND"
    )
    below = net.elementwise(net.compare(column, high, "LESS"), at_end, "OR")
    return net.elementwise(above, below, "AND")


def _searched(net: Net, x: Tensor, edges: Tensor) -> Tensor:
    """bool [n, bins]: as `_hits`, but by torch's binary search, whatever the order of the edges."""
    count = edges.shape[0]
    assert count is not None
    flat = net.reshape(x, [-1])
    first = net.full([net.size(flat, 0)], 0, torch.int64)
    left = net.full([net.size(flat, 0)], count, torch.int64)
    for _ in range(count.bit_length()):
        step = net.binary(left, 2, "DIV")
        place = net.add(first, step)
        edge = net.gather(edges, net.binary(place, count - 1, "MIN"), 0)
        ahead = net.unary(net.compare(flat, edge, "LESS"), "NOT")
        ahead = net.elementwise(ahead, net.compare(left, 0, "GREATER"), "AND")
        first = net.select(ahead, net.add(place, 1), first)
        left = net.select(ahead, net.sub(net.sub(left, step), 1), step)
    place = net.binary(net.sub(first, 1), count - 2, "MIN")
    low, high = (net.narrow(edges, 0, at, 1) for at in (0, count - 1))
    outside = net.elementwise(
        net.compare(flat, low, "LESS"), net.compare(flat, high, "GREATER"), "OR"
    )
    inside = net.unsqueeze(net.unary(outside, "NOT"), [1])
    return net.elementwise(one_hot(net, place, count - 1), inside, "AND")


def _summed(net: Net, hits: Tensor, weight: Tensor | None) -> Tensor:
    """[bins]: the number of hits, or the sum of their weights."""
    one = net.scalar(1.0, torch.float32)
    each = one if weight is None else net.reshape(weight, [-1, 1])
    return net.reduce(net.select(hits, each, net.scalar(0.0, torch.float32)), "SUM", [0], False)


def _density(net: Net, counts: Tensor, edges: Tensor, density: bool) -> Tensor:
    if not density:
        return counts
    bins = counts.shape[0] or 0
    width = net.sub(net.narrow(edges, 0, 1, bins), net.narrow(edges, 0, 0, bins))
    return net.div(net.div(counts, net.reduce(counts, "SUM", [0], True)), width)


def _bins_check(self: Value, bins: int) -> str | None:
    return too_large(self.shape, bins)


@TABLE.converter("aten.histc.default", support=Support(dtypes=NUMBERS), check=_bins_check)
def histc(net: Net, self: Tensor, bins: int, min: Scalar, max: Scalar) -> Tensor:
    """How many numbers fall into each of `bins` bins between min and max; if equal, those of the data."""
    x = net.cast(net.reshape(self, [-1]), torch.float32)
    bounds = None if min == max else (float(min), float(max))
    edges = _edges(net, x, bins, bounds, 1.0)
    return net.cast(_summed(net, _hits(net, x, edges), None), self.dtype)


@TABLE.converter(
    "aten.histogram.bin_ct", support=Support(dtypes=frozenset({"float32"})), check=_bins_check
)
def histogram(
    net: Net, self: Tensor, bins: int, range: Sequence[float] | None, weight: Tensor | None, density: bool
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Counts (or weights, or densities) of equal bins, and their edges."""
    x = net.reshape(self, [-1])
    edges = _edges(net, x, bins, range, 0.5)
    counts = _summed(net, _hits(net, x, edges), weight)
    return _density(net, counts, edges, density), edges


def _edges_check(self: Value, bins: Value) -> str | None:
    size = bins.shape[0]
    return (
        too_large(self.shape, size)
        if isinstance(size, int)
        else f"expected static bins, got {size}"
    )


@TABLE.converter(
    "aten.histogram.bins_tensor", support=Support(dtypes=frozenset({"float32"})), check=_edges_check
)
def histogram_between(
    net: Net, self: Tensor, bins: Tensor, weight: Tensor | None, density: bool
) -> tuple[Tensor, Tensor]:
    """As `histogram`, between given edges."""
    counts = _summed(net, _searched(net, self, bins), weight)
    return _density(net, counts, bins, density), bins


# -- bins in several dimensions ------------------------------------------------------------


_FLOAT32 = Support(dtypes=frozenset({"float32"}))


def _points_check(self: Value, bins: Sequence[object]) -> str | None:
    counts = [b.shape[0] if isinstance(b, Value) else b for b in bins]
    total = math.prod(n for n in counts if isinstance(n, int))
    return too_large(self.shape[:1], total)


@TABLE.converter("aten._histogramdd_bin_edges.default", support=_FLOAT32)
def histogramdd_edges(
    net: Net, self: Tensor, bins: Sequence[int], range: Sequence[float] | None,
    weight: Tensor | None, density: bool,
) -> list[Tensor]:  # fmt: skip
    """The edges for each coordinate of the last dim."""
    return _edges_of_all(net, self, bins, range)


def _edges_of_all(
    net: Net, points: Tensor, bins: Sequence[int], bounds: Sequence[float] | None
) -> list[Tensor]:
    return [
        _edges(net, _coordinate(net, points, i), n, bounds and bounds[2 * i : 2 * i + 2], 0.5)
        for i, n in enumerate(bins)
    ]


def _coordinate(net: Net, points: Tensor, i: int) -> Tensor:
    """[n]: one coordinate of every point, of those in the last dim."""
    return net.reshape(net.narrow(points, points.ndim - 1, i, 1), [-1])


@TABLE.converter("aten._histogramdd_from_bin_cts.default", support=_FLOAT32, check=_points_check)
def histogramdd(
    net: Net, self: Tensor, bins: Sequence[int], range: Sequence[float] | None,
    weight: Tensor | None, density: bool,
) -> Tensor:  # fmt: skip
    """Counts (or weights, or densities) of equal bins in every coordinate."""
    edges = _edges_of_all(net, self, bins, range)
    return _counted(net, self, edges, weight, density, _hits)


@TABLE.converter(
    "aten._histogramdd_from_bin_tensors.default", support=_FLOAT32, check=_points_check
)
def histogramdd_between(
    net: Net, self: Tensor, bins: Sequence[Tensor], weight: Tensor | None, density: bool
) -> Tensor:
    """As `histogramdd`, between given edges."""
    return _counted(net, self, bins, weight, density, _searched)


def _counted(
    net: Net, points: Tensor, edges: Sequence[Tensor], weight: Tensor | None, density: bool,
    hits_of: Callable[[Net, Tensor, Tensor], Tensor],
) -> Tensor:  # fmt: skip
    """A point is in a bin if each of its coordinates is. Bins are counted in C order, then reshaped."""
    hits = None
    sizes = [(e.shape[0] or 1) - 1 for e in edges]
    for i, edge in enumerate(edges):
        found = hits_of(net, _coordinate(net, points, i), edge)
        if hits is None:
            hits = found
            continue
        both = net.elementwise(net.unsqueeze(hits, [2]), net.unsqueeze(found, [1]), "AND")
        hits = net.reshape(both, [net.size(both, 0), math.prod(sizes[: i + 1])])
    assert hits is not None
    counts = net.reshape(_summed(net, hits, weight), sizes)
    if not density:
        return counts
    counts = net.div(counts, net.reduce(counts, "SUM", range(len(sizes)), True))
    for i, edge in enumerate(edges):
        width = net.sub(net.narrow(edge, 0, 1, sizes[i]), net.narrow(edge, 0, 0, sizes[i]))
        counts = net.div(counts, net.unsqueeze(width, [a for a in range(len(sizes)) if a != i]))
    return counts
