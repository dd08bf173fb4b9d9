"""Reductions over dimensions: sums, extremes, statistics, norms, tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from compiler.convert.idioms.numeric import (
    as_float,
    constant,
    is_float,
    is_nan,
    maximum,
    negated,
    widened,
)
from compiler.convert.net import Net, Scalar
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.network import Tensor

TABLE = Table("reduce")

Dims = int | Sequence[int] | None
"""None and an empty list mean all dimensions."""


def axes_of(x: Tensor, dim: Dims) -> list[int]:
    """Dimensions as non-negative axes; none where x has no dimension."""
    if x.ndim == 0:
        return []
    dims = [dim] if isinstance(dim, int) else list(dim or range(x.ndim))
    return [d % x.ndim for d in dims]


def reduced(net: Net, x: Tensor, op: str, dim: Dims, keepdim: bool) -> Tensor:
    """IReduceLayer over ATen's dimensions; a 0-dimensional x stays as it is."""
    axes = axes_of(x, dim)
    return net.reduce(x, op, axes, keepdim) if axes else x


# -- sums and products ---------------------------------------------------------------------


def _accumulated(
    net: Net, x: Tensor, op: str, dim: Dims, keepdim: bool, dtype: torch.dtype | None
) -> Tensor:
    """SUM or PROD in the type torch uses: integers and bools in int64, to bool through int32."""
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


def any_nan(net: Net, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    """Whether a NaN is among what is reduced."""
    found = net.cast(is_nan(net, x), torch.int32)
    return net.bool_of(reduced(net, found, "MAX", dim, keepdim))


def extreme(net: Net, x: Tensor, op: str, dim: Dims, keepdim: bool) -> Tensor:
    """MAX or MIN; NaN where one is among the numbers, which TensorRT's reduction drops."""
    if x.dtype == torch.bool:
        result = reduced(net, net.cast(x, torch.int32), op, dim, keepdim)
        return net.cast(result, torch.bool)
    result = reduced(net, x, op, dim, keepdim)
    if not is_float(x) or x.ndim == 0:
        return result
    spoiled = any_nan(net, x, dim, keepdim)
    return net.select(spoiled, constant(net, math.nan, x), result)


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


def _tests(op: str) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """any and all as sum and product of int32: right for no elements, and bools reduce not."""

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


# -- statistics ----------------------------------------------------------------------------


def moments(
    net: Net, x: Tensor, dim: Dims, correction: Scalar | None, keepdim: bool
) -> tuple[Tensor, Tensor]:
    """(variance, mean) of a float32 tensor; the sum of squares over max(0, n - correction)."""
    axes = axes_of(x, dim)
    if not axes:
        lone = net.unsqueeze(x, [0])
        variance, _ = moments(net, lone, 0, correction, False)
        return variance, x
    mean = net.reduce(x, "AVG", axes, True)
    apart = net.sub(x, mean)
    squares = net.reduce(net.mul(apart, apart), "SUM", axes, keepdim)
    count = net.product([net.size(x, a) for a in axes])
    free = net.sub(net.tensor(count, torch.float32), float(1 if correction is None else correction))
    variance = net.div(squares, maximum(net, free, constant(net, 0, free)))
    return variance, mean if keepdim else net.squeeze(mean, axes)


def _spread(
    net: Net, x: Tensor, dim: Dims, correction: Scalar | None, keepdim: bool, root: bool
) -> tuple[Tensor, Tensor]:
    variance, mean = moments(net, net.cast(x, torch.float32), dim, correction, keepdim)
    result = net.unary(variance, "SQRT") if root else variance
    return net.cast(result, x.dtype), net.cast(mean, x.dtype)


_FLOATS = Support(dtypes=FLOATS)
Pair = tuple[Tensor, Tensor]


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


# -- norms ---------------------------------------------------------------------------------


def norm(net: Net, x: Tensor, p: Scalar | None, dim: Dims, keepdim: bool) -> Tensor:
    """The p-norm of a float32 tensor."""
    size = net.unary(x, "ABS")
    p = 2 if p is None else p
    if abs(p) == math.inf:
        return extreme(net, size, "MAX" if p > 0 else "MIN", dim, keepdim)
    if p == 0:
        nonzero = negated(net, net.equal(x, 0))
        return reduced(net, net.cast(nonzero, x.dtype), "SUM", dim, keepdim)
    if p == 1:
        return reduced(net, size, "SUM", dim, keepdim)
    if p == 2:
        return net.unary(reduced(net, net.mul(x, x), "SUM", dim, keepdim), "SQRT")
    powers = net.binary(size, float(p), "POW")
    return net.binary(reduced(net, powers, "SUM", dim, keepdim), 1.0 / p, "POW")


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


@TABLE.converter("aten.logsumexp.default")
def logsumexp(net: Net, self: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    def formula(x: Tensor) -> Tensor:
        if x.ndim == 0:
            return x
        axes = axes_of(x, dim)
        high = net.reduce(x, "MAX", axes, True)
        # An infinite maximum must not be subtracted from itself.
        high = net.select(net.unary(high, "ISINF"), constant(net, 0, x), high)
        total = net.reduce(net.unary(net.sub(x, high), "EXP"), "SUM", axes, True)
        result = net.add(net.unary(total, "LOG"), high)
        return result if keepdim else net.squeeze(result, axes)

    return widened(net, formula, as_float(net, self))
