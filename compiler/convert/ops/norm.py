"""Vector norms over dimensions, and the norm of a difference."""

from __future__ import annotations

import torch

from compiler.convert.idioms.numeric import as_float, widened
from compiler.convert.idioms.reductions import Dims, norm
from compiler.convert.net import Net, Scalar
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.network import Tensor

TABLE = Table("norm")

_FLOATS = Support(dtypes=FLOATS)


def _norm_of(
    net: Net, x: Tensor, p: Scalar | None, dim: Dims, keepdim: bool, dtype: torch.dtype | None
) -> Tensor:
    x = x if dtype is None else net.cast(x, dtype)
    return widened(net, lambda v: norm(net, v, p, dim, keepdim), as_float(net, x))


@TABLE.converter("aten.linalg_vector_norm.default", support=_FLOATS)
def linalg_vector_norm(
    net: Net, self: Tensor, ord: Scalar, dim: Dims, keepdim: bool, dtype: torch.dtype | None
) -> Tensor:
    return _norm_of(net, self, ord, dim, keepdim, dtype)


@TABLE.converter("aten.norm.ScalarOpt_dim", support=_FLOATS)
def norm_dim(net: Net, self: Tensor, p: Scalar | None, dim: Dims, keepdim: bool) -> Tensor:
    return _norm_of(net, self, p, dim, keepdim, None)


@TABLE.converter("aten.norm.ScalarOpt_dim_dtype", support=_FLOATS)
def norm_dim_dtype(
    net: Net, self: Tensor, p: Scalar | None, dim: Dims, keepdim: bool, dtype: torch.dtype
) -> Tensor:
    return _norm_of(net, self, p, dim, keepdim, dtype)


@TABLE.converter("aten.norm.Scalar", support=_FLOATS)
def norm_all(net: Net, self: Tensor, p: Scalar) -> Tensor:
    return _norm_of(net, self, p, None, False, None)


@TABLE.converter("aten.dist.default", support=_FLOATS)
def dist(net: Net, self: Tensor, other: Tensor, p: Scalar) -> Tensor:
    """The p-norm of the difference."""
    return _norm_of(net, net.sub(self, other), p, None, False, None)
