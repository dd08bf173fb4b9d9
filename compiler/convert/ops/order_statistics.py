"""Single elements by their place in the order: extremes with positions, k-th smallest, medians."""

from __future__ import annotations

import math

import torch

from compiler.convert.idioms.numeric import constant, is_float, is_nan
from compiler.convert.idioms.order import LONGEST_SORT, along, check_count, check_sort, first_of
from compiler.convert.idioms.reductions import any_nan
from compiler.convert.net import Net
from compiler.convert.registry import NUMBERS, Support, Table
from compiler.network.network import Size, Tensor
from enginebundle.format.graph import Value

TABLE = Table("order_statistics")

_NUMBERS = Support(dtypes=NUMBERS)


def _first(net: Net, x: Tensor, dim: int, keepdim: bool, largest: bool) -> tuple[Tensor, Tensor]:
    values, where = along(net, x, dim, 1, largest)
    if not x.ndim or keepdim:
        return values, where
    axis = dim % x.ndim
    return net.squeeze(values, [axis]), net.squeeze(where, [axis])


def _greatest(net: Net, x: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    return _first(net, x, dim, keepdim, True)


def _smallest(net: Net, x: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    """NaN wins, as in `_greatest`, so it is replaced by -infinity for the search."""
    if not is_float(x):
        return _first(net, x, dim, keepdim, False)
    key = net.select(is_nan(net, x), constant(net, -math.inf, x), x)
    _, where = _first(net, key, dim, True, False)
    if not x.ndim:
        return x, where
    axis = dim % x.ndim
    values = net.gather_elements(x, where, axis)
    if keepdim:
        return values, where
    return net.squeeze(values, [axis]), net.squeeze(where, [axis])


@TABLE.converter("aten.max.dim")
def max_dim(net: Net, self: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    return _greatest(net, self, dim, keepdim)


@TABLE.converter("aten.min.dim")
def min_dim(net: Net, self: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    return _smallest(net, self, dim, keepdim)


def _position(net: Net, x: Tensor, dim: int | None, keepdim: bool, largest: bool) -> Tensor:
    function = _greatest if largest else _smallest
    if dim is not None or x.ndim == 0:
        return function(net, x, dim or 0, keepdim)[1]
    where = function(net, net.reshape(x, [-1]), 0, False)[1]
    return net.reshape(where, [1] * x.ndim) if keepdim else where


@TABLE.converter("aten.argmax.default", support=_NUMBERS)
def argmax(net: Net, self: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    return _position(net, self, dim, keepdim, True)


@TABLE.converter("aten.argmin.default", support=_NUMBERS)
def argmin(net: Net, self: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    return _position(net, self, dim, keepdim, False)


def _kth(net: Net, x: Tensor, k: Size, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    """The k-th smallest element, counted from 1."""
    if not x.ndim:
        return x, net.scalar(0, torch.int64)
    axis = dim % x.ndim
    last = net.size_op("sub", k, 1)
    values, where = (net.narrow(part, axis, last, 1) for part in first_of(net, x, axis, k, False))
    if keepdim:
        return values, where
    return net.squeeze(values, [axis]), net.squeeze(where, [axis])


@TABLE.converter("aten.kthvalue.default", support=_NUMBERS, check=check_count)
def kthvalue(net: Net, self: Tensor, k: Size, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    return _kth(net, self, k, dim, keepdim)


def _median(net: Net, x: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    """The lower of the two middle elements; the first NaN where there is one."""
    if not x.ndim:
        return x, net.scalar(0, torch.int64)
    half = net.size_op("floordiv", net.size_op("add", net.size(x, dim % x.ndim), 1), 2)
    values, where = _kth(net, x, half, dim, keepdim)
    if not is_float(x):
        return values, where
    spoiled = any_nan(net, x, dim, keepdim)
    _, first = _greatest(net, net.cast(is_nan(net, x), torch.int32), dim, keepdim)
    nan = constant(net, math.nan, x)
    return net.select(spoiled, nan, values), net.select(spoiled, first, where)


def _check_median(self: Value, dim: int) -> str | None:
    size = self.shape[dim] if self.shape else 1
    if size == 0:
        return "expected numbers, got none"
    if isinstance(size, int) and (size + 1) // 2 > LONGEST_SORT:
        return (
            f"expected at most {2 * LONGEST_SORT} numbers (their lower half is sorted), got {size}"
        )
    return None


@TABLE.converter("aten.median.dim", support=_NUMBERS, check=_check_median)
def median_dim(net: Net, self: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    return _median(net, self, dim, keepdim)


def _check_whole(self: Value) -> str | None:
    known = [n for n in self.shape if isinstance(n, int)]
    return _check_median(Value("", self.dtype, (math.prod(known),)), 0)


@TABLE.converter("aten.median.default", support=_NUMBERS, check=_check_whole)
def median(net: Net, self: Tensor) -> Tensor:
    flat = net.reshape(self, [-1]) if self.ndim else self
    return _median(net, flat, 0, False)[0]


def _nanmedian(net: Net, x: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    """The lower of the two middle numbers; sorting puts NaN after all numbers."""
    if not x.ndim or not is_float(x):
        return _median(net, x, dim, keepdim)
    axis = dim % x.ndim
    values, where = first_of(net, x, axis, net.size(x, axis), False)
    numbers = net.cast(net.equal(x, x), torch.int64)
    count = net.reduce(numbers, "SUM", [axis], True)
    last = net.binary(net.sub(count, 1), 0, "MAX")  # without numbers, NaN itself
    middle = net.elementwise(last, constant(net, 2, count), "DIV")
    found = [net.gather_elements(part, middle, axis) for part in (values, where)]
    if not keepdim:
        found = [net.squeeze(part, [axis]) for part in found]
    return found[0], found[1]


@TABLE.converter("aten.nanmedian.dim", support=_NUMBERS, check=check_sort)
def nanmedian_dim(net: Net, self: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    return _nanmedian(net, self, dim, keepdim)


@TABLE.converter("aten.nanmedian.default", support=_NUMBERS, check=_check_whole)
def nanmedian(net: Net, self: Tensor) -> Tensor:
    flat = net.reshape(self, [-1]) if self.ndim else self
    return _nanmedian(net, flat, 0, False)[0]
