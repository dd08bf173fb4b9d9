"""Triangles and diagonals of matrices, and their indices."""

from __future__ import annotations

from collections.abc import Callable

import torch

from compiler.convert.idioms.numeric import constant, less
from compiler.convert.net import Net
from compiler.convert.registry import ANY, Support, Table
from compiler.network.network import Size, Tensor

TABLE = Table("triangles")


def _below(net: Net, rows: Size, columns: Size, diagonal: Size) -> Tensor:
    """bool [rows, columns]: column <= row + diagonal."""
    row = net.unsqueeze(net.arange(rows), [1])
    column = net.unsqueeze(net.arange(columns), [0])
    edge = net.tensor(net.size_op("add", diagonal, 1), torch.int64)
    return less(net, column, net.add(row, edge))


@TABLE.converter("aten.tril.default")
def tril(net: Net, self: Tensor, diagonal: Size) -> Tensor:
    keep = _below(net, net.size(self, -2), net.size(self, -1), diagonal)
    return net.select(keep, self, constant(net, 0, self))


@TABLE.converter("aten.triu.default")
def triu(net: Net, self: Tensor, diagonal: Size) -> Tensor:
    drop = _below(net, net.size(self, -2), net.size(self, -1), net.size_op("sub", diagonal, 1))
    return net.select(drop, constant(net, 0, self), self)


def _eye(net: Net, rows: Size, columns: Size, dtype: torch.dtype | None) -> Tensor:
    dtype = torch.float32 if dtype is None else dtype
    equal = net.equal(net.unsqueeze(net.arange(rows), [1]), net.unsqueeze(net.arange(columns), [0]))
    return net.cast(equal, dtype)


@TABLE.converter("aten.eye.default")
def eye(net: Net, n: Size, dtype: torch.dtype | None) -> Tensor:
    return _eye(net, n, n, dtype)


@TABLE.converter("aten.eye.m")
def eye_m(net: Net, n: Size, m: Size, dtype: torch.dtype | None) -> Tensor:
    return _eye(net, n, m, dtype)


def _check_indices(row: object, col: object, offset: object) -> str | None:
    if all(isinstance(n, int) for n in (row, col, offset)):
        return None
    return (
        "expected constant sizes and offset, got computed ones: "
        "the number of indices depends on the sizes"
    )


def _triangle(function: Callable[..., torch.Tensor]) -> Callable[..., Tensor]:
    def convert(net: Net, row: int, col: int, offset: int, dtype: torch.dtype | int) -> Tensor:
        # The schema's own default is a number that stands for int64.
        known = dtype if isinstance(dtype, torch.dtype) else torch.int64
        return net.constant(function(row, col, offset=offset, dtype=known))

    return convert


for _name, _function in (("tril", torch.tril_indices), ("triu", torch.triu_indices)):
    TABLE.row(f"aten.{_name}_indices.default", _triangle(_function), Support(ANY), _check_indices)
