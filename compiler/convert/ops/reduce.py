"""Reductions over dimensions: sums, products, means, extremes, any and all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from compiler.convert.idioms.numeric import constant, is_float, is_nan
from compiler.convert.idioms.reductions import Dims, extreme, log_sum_exp, reduced
from compiler.convert.net import Net
from compiler.convert.registry import Table
from compiler.network.network import Tensor

TABLE = Table("reduce")


# -- sums and products ---------------------------------------------------------------------


def _accumulated(
    net: Net, x: Tensor, op: str, dim: Dims, keepdim: bool, dtype: torch.dtype | None
) -> Tensor:
    """SUM or PROD in the dtype that torch uses: int64 for integers and bools; bool goes through int32."""
    if dtype is None:
        dtype = x.dtype if is_float(x) else torch.int64
    if dtype == torch.bool:
        return net.bool_of(reduced(net, net.cast(net.bool_of(x), torch.int32), op, dim, keepdim))
    return reduced(net, net.cast(x, dtype), op, dim, keepdim)


@TABLE.converter("aten.sum.dim_IntList")
def sum_dim(net: Net, self: Tensor, dim: Dims, keepdim: bool, dtype: torch.dtype | None) -> Tensor:
    return _accumulated(net, self, "SUM", dim, keepdim, dtype)


@TABLE.converter("aten.sum.default")
def sum_all(net: Net, self: Tensor, dtype: torch.dtype | None) -> Tensor:
    return _accumulated(net, self, "SUM", None, False, dtype)


@TABLE.converter("aten.nansum.default")
def nansum(net: Net, self: Tensor, dim: Dims, keepdim: bool, dtype: torch.dtype | None) -> Tensor:
    x = self
    if is_float(x):
        x = net.select(is_nan(net, x), constant(net, 0, x), x)
    return _accumulated(net, x, "SUM", dim, keepdim, dtype)


@TABLE.converter("aten.prod.dim_int")
def prod_dim(net: Net, self: Tensor, dim: int, keepdim: bool, dtype: torch.dtype | None) -> Tensor:
    return _accumulated(net, self, "PROD", dim, keepdim, dtype)


@TABLE.converter("aten.prod.default")
def prod_all(net: Net, self: Tensor, dtype: torch.dtype | None) -> Tensor:
    return _accumulated(net, self, "PROD", None, False, dtype)


@TABLE.converter("aten.mean.dim")
def mean_dim(net: Net, self: Tensor, dim: Dims, keepdim: bool, dtype: torch.dtype | None) -> Tensor:
    return reduced(net, net.cast(self, dtype or self.dtype), "AVG", dim, keepdim)


@TABLE.converter("aten.mean.default")
def mean_all(net: Net, self: Tensor, dtype: torch.dtype | None) -> Tensor:
    return reduced(net, net.cast(self, dtype or self.dtype), "AVG", None, False)


@TABLE.converter("aten.count_nonzero.default", "aten.count_nonzero.dim_IntList")
def count_nonzero(net: Net, self: Tensor, dim: Dims) -> Tensor:
    return reduced(net, net.cast(net.bool_of(self), torch.int64), "SUM", dim, False)


# -- extremes ------------------------------------------------------------------------------


def _extremes(op: str) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    def over(net: Net, self: Tensor, dim: Dims, keepdim: bool) -> Tensor:
        return extreme(net, self, op, dim, keepdim)

    def of_all(net: Net, self: Tensor) -> Tensor:
        return extreme(net, self, op, None, False)

    return over, of_all


for _name, _op in (("max", "MAX"), ("min", "MIN")):
    _over, _of_all = _extremes(_op)
    TABLE.row(f"aten.a{_name}.default", _over)
    TABLE.row(f"aten.{_name}.default", _of_all)


@TABLE.converter("aten.aminmax.default")
def aminmax(net: Net, self: Tensor, dim: int | None, keepdim: bool) -> tuple[Tensor, Tensor]:
    low = extreme(net, self, "MIN", dim, keepdim)
    return low, extreme(net, self, "MAX", dim, keepdim)


# -- any and all ---------------------------------------------------------------------------


def _tests(op: str) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """any and all as the sum and product of int32: TensorRT reduces no bools, and no elements work too."""

    def over(net: Net, self: Tensor, dim: Dims, keepdim: bool) -> Tensor:
        found = net.cast(net.bool_of(self), torch.int32)
        if isinstance(dim, Sequence) and not dim:
            return net.bool_of(self)
        return net.cast(reduced(net, found, op, dim, keepdim), torch.bool)

    def of_all(net: Net, self: Tensor) -> Tensor:
        return over(net, self, None, False)

    return over, of_all


for _name, _op in (("any", "SUM"), ("all", "PROD")):
    _over, _of_all = _tests(_op)
    TABLE.row(f"aten.{_name}.default", _of_all)
    TABLE.row(f"aten.{_name}.dim", _over)
    TABLE.row(f"aten.{_name}.dims", _over)


# -- the logarithm of a sum of exponentials ------------------------------------------------


@TABLE.converter("aten.logsumexp.default")
def logsumexp(net: Net, self: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    return log_sum_exp(net, self, dim, keepdim)
