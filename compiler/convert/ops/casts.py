"""Changes of dtype, and operators that return their tensor unchanged."""

from __future__ import annotations

import torch

from compiler.convert.net import Net
from compiler.convert.registry import ANY, Support, Table
from compiler.network.network import Tensor

TABLE = Table("casts")

FROM_BYTES = Support(dtypes=ANY | {"uint8"})
"""TensorRT takes 8-bit integers only as network inputs that are cast at once."""


def _not_to_bytes(dtype: torch.dtype | None) -> str | None:
    if dtype == torch.uint8:
        return "expected a type that TensorRT computes in, got uint8"
    return None


def _cast(net: Net, x: Tensor, dtype: torch.dtype | None) -> Tensor:
    return x if dtype is None else net.cast(x, dtype)


@TABLE.converter("aten._to_copy.default", support=FROM_BYTES, check=_not_to_bytes)
def to_copy(net: Net, self: Tensor, dtype: torch.dtype | None) -> Tensor:
    return _cast(net, self, dtype)


@TABLE.converter(
    "aten.to.dtype", "aten.to.dtype_layout", "aten.to.device",
    support=FROM_BYTES, check=_not_to_bytes,
)  # fmt: skip
def to(net: Net, self: Tensor, dtype: torch.dtype | None, copy: bool) -> Tensor:
    return _cast(net, self, dtype)


@TABLE.converter("aten.to.other")
def to_other(net: Net, self: Tensor, other: Tensor, copy: bool) -> Tensor:
    return net.cast(self, other.dtype)


@TABLE.converter("aten.type_as.default")
def type_as(net: Net, self: Tensor, other: Tensor) -> Tensor:
    return net.cast(self, other.dtype)


@TABLE.converter(
    "aten.clone.default", "aten.alias.default", "aten.contiguous.default", "aten.detach.default",
    "aten.detach_.default", "aten.lift.default", "aten.lift_fresh.default",
    "aten.lift_fresh_copy.default", "aten.alias_copy.default", "aten.detach_copy.default",
    "aten.resolve_conj.default", "aten.resolve_neg.default",
)  # fmt: skip
def same(net: Net, self: Tensor) -> Tensor:
    return self


@TABLE.converter("aten.copy.default")
def copy(net: Net, self: Tensor, src: Tensor) -> Tensor:
    """`src` with the dtype and sizes of `self`, whose values do not matter."""
    return net.expand(net.cast(src, self.dtype), net.sizes(self))
