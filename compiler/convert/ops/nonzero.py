"""Positions of elements that are not zero, in a number that the caller fixes."""

from __future__ import annotations

import torch

from compiler.convert.idioms.accumulate import too_large
from compiler.convert.idioms.positions import plain, size_tensor
from compiler.convert.net import Net
from compiler.convert.registry import Table
from compiler.network.network import Size, Tensor
from enginebundle.format.graph import Value

TABLE = Table("nonzero")


def _check(self: Value, size: int | Value) -> str | None:
    return too_large(self.shape, size) if isinstance(size, int) else None


@TABLE.converter("aten.nonzero_static.default", check=_check)
def nonzero_static(net: Net, self: Tensor, size: Size, fill_value: int) -> Tensor:
    """int64 [size, rank of self]: positions in C order, cut or padded to size.

    Each row is compared with each element's running count among those that are not zero.
    """
    found = (
        net.reshape(net.bool_of(self), [-1]) if self.ndim else net.unsqueeze(net.bool_of(self), [0])
    )
    number = net.cumulative(net.cast(found, torch.int64), 0)
    rows = net.unsqueeze(net.arange(plain(size)), [1])
    hits = net.elementwise(
        net.equal(net.unsqueeze(number, [0]), net.add(rows, 1)), net.unsqueeze(found, [0]), "AND"
    )
    places = net.unsqueeze(net.arange(net.size(found, 0)), [0])
    chosen = net.select(hits, places, net.scalar(0, torch.int64))
    flat = net.reduce(chosen, "SUM", [1], True)
    some = net.compare(net.reduce(net.cast(hits, torch.int32), "SUM", [1], True), 0, "GREATER")
    if not self.ndim:
        return net.full([size, 0], fill_value, torch.int64)
    columns: list[Tensor] = []
    for size_ in reversed(net.sizes(self)):
        length = size_tensor(net, net.size_op("max", size_, 1))  # an empty tensor has none
        above = net.binary(flat, length, "DIV")
        columns.insert(0, net.sub(flat, net.mul(above, length)))
        flat = above
    return net.select(some, net.concat(columns, 1), net.scalar(fill_value, torch.int64))
