"""Which of the bins between sorted edges each number falls into."""

from __future__ import annotations

import torch

from compiler.convert.idioms.numeric import negated
from compiler.convert.net import Net, Operand
from compiler.convert.registry import NUMBERS, Support, Table
from compiler.network.network import Tensor

TABLE = Table("bucketize")

_NUMBERS = Support(dtypes=NUMBERS)


def _bins(net: Net, x: Tensor, edges: Tensor, right: bool, out_int32: bool) -> Tensor:
    """How many edges lie below each number, by n * m comparisons. NaN lies above all of them."""
    values, sorted_edges = net.promote(x, edges)
    column = net.unsqueeze(values, [values.ndim])
    if sorted_edges.ndim > 1:
        sorted_edges = net.unsqueeze(sorted_edges, [sorted_edges.ndim - 1])
    behind = net.compare(sorted_edges, column, "GREATER")
    if not right:
        behind = net.elementwise(behind, net.equal(sorted_edges, column), "OR")
    before = net.cast(negated(net, behind), torch.int32 if out_int32 else torch.int64)
    return net.reduce(before, "SUM", [before.ndim - 1], False)


@TABLE.converter("aten.bucketize.Tensor", support=_NUMBERS)
def bucketize(net: Net, self: Tensor, boundaries: Tensor, out_int32: bool, right: bool) -> Tensor:
    return _bins(net, self, boundaries, right, out_int32)


@TABLE.converter("aten.bucketize.Scalar", support=_NUMBERS)
def bucketize_scalar(
    net: Net, self: Operand, boundaries: Tensor, out_int32: bool, right: bool
) -> Tensor:
    number = self if not isinstance(self, float) else net.scalar(self, boundaries.dtype)
    return _bins(net, net.tensor(number, boundaries.dtype), boundaries, right, out_int32)


@TABLE.converter("aten.searchsorted.Tensor", support=_NUMBERS)
def searchsorted(
    net: Net, sorted_sequence: Tensor, self: Tensor, out_int32: bool, right: bool,
    side: str | None, sorter: Tensor | None,
) -> Tensor:  # fmt: skip
    return _searched(net, sorted_sequence, self, out_int32, right or side == "right", sorter)


@TABLE.converter("aten.searchsorted.Scalar", support=_NUMBERS)
def searchsorted_scalar(
    net: Net, sorted_sequence: Tensor, self: Operand, out_int32: bool, right: bool,
    side: str | None, sorter: Tensor | None,
) -> Tensor:  # fmt: skip
    number = net.tensor(self, net.result_type(sorted_sequence, self))
    return _searched(net, sorted_sequence, number, out_int32, right or side == "right", sorter)


def _searched(
    net: Net, edges: Tensor, x: Tensor, out_int32: bool, right: bool, sorter: Tensor | None
) -> Tensor:
    if sorter is not None:
        edges = net.gather_elements(edges, sorter, edges.ndim - 1)
    return _bins(net, x, edges, right, out_int32)
