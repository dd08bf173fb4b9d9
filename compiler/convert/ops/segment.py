"""Reductions over consecutive segments of one dimension, whose lengths depend on data."""

from __future__ import annotations

import math

import torch

from compiler.convert.idioms.accumulate import REDUCTIONS, neutral, too_large
from compiler.convert.idioms.axes import move
from compiler.convert.idioms.numeric import constant
from compiler.convert.net import Net, Scalar
from compiler.convert.registry import FLOATS, INTEGERS, Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("segment")


def _check(
    data: Value, lengths: Value | None, indices: Value | None, offsets: Value | None
) -> str | None:
    given = lengths if lengths is not None else offsets
    if given is None or indices is not None:
        return "expected lengths or offsets without indices, got indices or neither"
    return too_large(data.shape, given.shape[-1])


@TABLE.converter(
    "aten.segment_reduce.default", support=Support(dtypes=FLOATS | INTEGERS), check=_check
)
def segment_reduce(
    net: Net, data: Tensor, reduce: str, lengths: Tensor | None, indices: None,
    offsets: Tensor | None, axis: int, unsafe: bool, initial: Scalar | None,
) -> Tensor:  # fmt: skip
    """data [*batch, n, *rest] to [*batch, segments, *rest] by sum, mean, max, min or prod.

    lengths is [*batch, segments]; offsets is [*batch, segments + 1]: where each begins, and the end.
    """
    start, end = _borders(net, lengths, offsets)
    x = move(net, data, [axis], [-1])  # [*batch, *rest, n]
    between = range(axis, x.ndim - 1)
    start, end = (net.unsqueeze(t, [*between, x.ndim]) for t in (start, end))
    numbers = net.cast(net.arange(net.size(x, x.ndim - 1)), start.dtype)
    inside = net.elementwise(
        net.unary(net.compare(numbers, start, "LESS"), "NOT"),
        net.compare(numbers, end, "LESS"),
        "AND",
    )  # [*batch, *1, segments, n]
    word = {"max": "amax", "min": "amin"}.get(reduce, reduce)
    op = REDUCTIONS[word]
    fill = constant(net, neutral(x.dtype, op), x)
    values = net.select(inside, net.unsqueeze(x, [x.ndim - 1]), fill)
    found = net.reduce(values, op, [values.ndim - 1], False)
    if initial is not None:
        found = net.elementwise(found, constant(net, initial, found), op)
    if reduce == "mean":
        count = net.cast(net.squeeze(net.sub(end, start), [start.ndim - 1]), x.dtype)
        empty = found if initial is not None else constant(net, math.nan, x)
        found = net.select(net.equal(count, 0), empty, net.div(found, count))
    return move(net, found, [-1], [axis])


def _borders(net: Net, lengths: Tensor | None, offsets: Tensor | None) -> tuple[Tensor, Tensor]:
    """The start and the end of each segment."""
    if lengths is not None:
        wide = net.cast(lengths, torch.int64)
        end = net.cumulative(wide, wide.ndim - 1)
        return net.sub(end, wide), end
    assert offsets is not None
    last = offsets.ndim - 1
    count = net.size_op("sub", net.size(offsets, last), 1)
    return net.narrow(offsets, last, 0, count), net.narrow(offsets, last, 1, count)
