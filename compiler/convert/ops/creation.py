"""Tensors filled with one value. Static ones become constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from compiler.convert.net import Net, Operand
from compiler.convert.registry import Table
from compiler.network.network import Size, Tensor

TABLE = Table("creation")


def _fill_dtype(value: Operand) -> torch.dtype:
    if isinstance(value, Tensor):
        return value.dtype
    if isinstance(value, bool):
        return torch.bool
    return torch.int64 if isinstance(value, int) else torch.float32


@TABLE.converter("aten.full.default")
def full(net: Net, size: Sequence[Size], fill_value: Operand, dtype: torch.dtype | None) -> Tensor:
    return net.full(size, fill_value, _fill_dtype(fill_value) if dtype is None else dtype)


@TABLE.converter("aten.full_like.default")
def full_like(net: Net, self: Tensor, fill_value: Operand, dtype: torch.dtype | None) -> Tensor:
    return net.full(net.sizes(self), fill_value, self.dtype if dtype is None else dtype)


@TABLE.converter("aten.new_full.default")
def new_full(
    net: Net, self: Tensor, size: Sequence[Size], fill_value: Operand, dtype: torch.dtype | None
) -> Tensor:
    return net.full(size, fill_value, self.dtype if dtype is None else dtype)


@TABLE.converter("aten.fill.Scalar", "aten.fill.Tensor")
def fill(net: Net, self: Tensor, value: Operand) -> Tensor:
    return net.full(net.sizes(self), value, self.dtype)


@TABLE.converter("aten.scalar_tensor.default")
def scalar_tensor(net: Net, s: Operand, dtype: torch.dtype | None) -> Tensor:
    return net.tensor(s, torch.float32 if dtype is None else dtype)


def _filled(value: int) -> Callable[..., Tensor]:
    def convert(net: Net, size: Sequence[Size], dtype: torch.dtype | None) -> Tensor:
        return net.full(size, value, torch.float32 if dtype is None else dtype)

    return convert


def _filled_like(value: int) -> Callable[..., Tensor]:
    def convert(net: Net, self: Tensor, dtype: torch.dtype | None) -> Tensor:
        return net.full(net.sizes(self), value, self.dtype if dtype is None else dtype)

    return convert


def _filled_new(value: int) -> Callable[..., Tensor]:
    def convert(net: Net, self: Tensor, size: Sequence[Size], dtype: torch.dtype | None) -> Tensor:
        return net.full(size, value, self.dtype if dtype is None else dtype)

    return convert


# `empty` leaves its values open; here they are zero.
for _name, _value in (("zeros", 0), ("ones", 1), ("empty", 0)):
    _overload = "memory_format" if _name == "empty" else "default"
    TABLE.row(f"aten.{_name}.{_overload}", _filled(_value))
    TABLE.row(f"aten.{_name}_like.default", _filled_like(_value))
    TABLE.row(f"aten.new_{_name}.default", _filled_new(_value))


@TABLE.converter("aten.empty_strided.default")
def empty_strided(
    net: Net, size: Sequence[Size], stride: Sequence[Size], dtype: torch.dtype | None
) -> Tensor:
    return net.full(size, 0, torch.float32 if dtype is None else dtype)


@TABLE.converter("aten.new_empty_strided.default")
def new_empty_strided(
    net: Net, self: Tensor, size: Sequence[Size], stride: Sequence[Size], dtype: torch.dtype | None
) -> Tensor:
    return net.full(size, 0, self.dtype if dtype is None else dtype)


@TABLE.converter("aten.empty_permuted.default")
def empty_permuted(
    net: Net, size: Sequence[Size], physical_layout: Sequence[int], dtype: torch.dtype | None
) -> Tensor:
    return net.full(size, 0, torch.float32 if dtype is None else dtype)
