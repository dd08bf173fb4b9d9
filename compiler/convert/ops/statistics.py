"""Variances and standard deviations, alone and with the mean."""

from __future__ import annotations

import torch

from compiler.convert.idioms.reductions import Dims
from compiler.convert.idioms.statistics import moments
from compiler.convert.net import Net, Scalar
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.network import Tensor

TABLE = Table("statistics")

_FLOATS = Support(dtypes=FLOATS)


Pair = tuple[Tensor, Tensor]


def _spread(
    net: Net, x: Tensor, dim: Dims, correction: Scalar | None, keepdim: bool, root: bool
) -> tuple[Tensor, Tensor]:
    variance, mean = moments(net, net.cast(x, torch.float32), dim, correction, keepdim)
    result = net.unary(variance, "SQRT") if root else variance
    return net.cast(result, x.dtype), net.cast(mean, x.dtype)


def _statistics(name: str, root: bool) -> None:
    """The six overloads of var or std, and of var_mean or std_mean."""

    def corrected(
        net: Net, self: Tensor, dim: Dims, correction: Scalar | None, keepdim: bool
    ) -> Pair:
        return _spread(net, self, dim, correction, keepdim, root)

    def over(net: Net, self: Tensor, dim: Dims, unbiased: bool, keepdim: bool) -> Pair:
        return _spread(net, self, dim, int(unbiased), keepdim, root)

    def of_all(net: Net, self: Tensor, unbiased: bool) -> Pair:
        return _spread(net, self, None, int(unbiased), False, root)

    def first_corrected(
        net: Net, self: Tensor, dim: Dims, correction: Scalar | None, keepdim: bool
    ) -> Tensor:
        return corrected(net, self, dim, correction, keepdim)[0]

    def first_over(net: Net, self: Tensor, dim: Dims, unbiased: bool, keepdim: bool) -> Tensor:
        return over(net, self, dim, unbiased, keepdim)[0]

    def first_of_all(net: Net, self: Tensor, unbiased: bool) -> Tensor:
        return of_all(net, self, unbiased)[0]

    TABLE.row(f"aten.{name}.correction", first_corrected, _FLOATS)
    TABLE.row(f"aten.{name}.dim", first_over, _FLOATS)
    TABLE.row(f"aten.{name}.default", first_of_all, _FLOATS)
    TABLE.row(f"aten.{name}_mean.correction", corrected, _FLOATS)
    TABLE.row(f"aten.{name}_mean.dim", over, _FLOATS)
    TABLE.row(f"aten.{name}_mean.default", of_all, _FLOATS)


_statistics("var", False)


_statistics("std", True)
