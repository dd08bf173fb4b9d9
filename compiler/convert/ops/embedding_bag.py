"""Rows of a table, reduced by sum, mean or maximum in bags that offsets delimit."""

from __future__ import annotations

import torch

from compiler.convert.idioms.accumulate import reduced_hits, too_large
from compiler.convert.net import Net
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("embedding_bag")
REDUCTIONS = ("SUM", "SUM", "MAX")
"""By mode: sum, mean, max."""
MEAN, MAX = 1, 2


def _check(weight: Value, indices: Value, offsets: Value) -> str | None:
    return too_large((*indices.shape, *weight.shape[1:]), offsets.shape[0])


@TABLE.converter(
    "aten._embedding_bag.default", "aten._embedding_bag_forward_only.default",
    support=Support(dtypes=FLOATS | {"int32", "int64"}), check=_check,
)  # fmt: skip
def embedding_bag(
    net: Net, weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool, mode: int,
    sparse: bool, per_sample_weights: Tensor | None, include_last_offset: bool, padding_idx: int,
) -> tuple[Tensor, None, None, None]:  # fmt: skip
    """weight [rows, d], indices [n], offsets [bags] to [bags, d]; an empty bag gives zeros.

    Each bag is compared with each index. The other three results serve training only: they are not
    computed, and a node that reads one stays in torch together with this one.
    """
    inside = _inside(net, indices, offsets, include_last_offset)
    if padding_idx >= 0:
        counted = net.unary(net.equal(indices, padding_idx), "NOT")
        inside = net.elementwise(inside, net.unsqueeze(counted, [0]), "AND")
    rows = net.cast(net.gather(weight, indices, 0), torch.float32)
    if per_sample_weights is not None:
        rows = net.mul(rows, net.unsqueeze(net.cast(per_sample_weights, torch.float32), [1]))
    hits = net.unsqueeze(inside, [2])
    found, count = reduced_hits(
        net, hits, net.unsqueeze(rows, [0]), 1, REDUCTIONS[mode], torch.float32
    )
    if mode == MEAN:
        found = net.div(found, net.cast(net.binary(count, 1, "MAX"), torch.float32))
    if mode == MAX:
        some = net.compare(count, 0, "GREATER")
        found = net.select(some, found, net.scalar(0.0, torch.float32))
    return net.cast(found, weight.dtype), None, None, None


def _inside(net: Net, indices: Tensor, offsets: Tensor, include_last: bool) -> Tensor:
    """bool [bags, n]: whether an index lies in a bag: in the last one that begins at it or before it."""
    offsets = net.unsqueeze(net.cast(offsets, torch.int64), [1])
    place = net.unsqueeze(net.arange(net.size(indices, 0)), [0])
    begun = net.unary(net.compare(offsets, place, "GREATER"), "NOT")
    count = net.reduce(net.cast(begun, torch.int32), "SUM", [0], True)
    bags = net.size(offsets, 0)
    if include_last:  # what lies behind the last offset is in no bag
        bags = net.size_op("sub", bags, 1)
    number = net.unsqueeze(net.arange(bags, torch.int32), [1])
    return net.equal(net.sub(count, 1), number)
