"""Order: the largest ones, sorting, medians, positions of extremes, bins.

ITopKLayer gives at most 3840 numbers, in order, equals by ascending index. It loses NaN, which
torch counts as larger than every number: positions are found with NaN as infinity, and values
are read at the positions.
"""

from __future__ import annotations

import math

import torch

from compiler.convert.idioms.numeric import constant, is_float, is_nan, negated
from compiler.convert.net import Net, Operand
from compiler.convert.ops.reduce import any_nan
from compiler.convert.registry import NUMBERS, Support, Table
from compiler.network.network import Size, Tensor
from enginebundle.format.graph import Value

TABLE = Table("order")

LIMIT = 3840
_NUMBERS = Support(dtypes=NUMBERS)


def _check_size(self: Value, dim: int | None) -> str | None:
    """Sorting takes as many as there are."""
    size = self.shape[dim] if self.shape and dim is not None else 1
    if isinstance(size, int) and size > LIMIT:
        return f"TensorRT sorts at most {LIMIT} numbers, got {size}"
    return None


def _check_k(k: object) -> str | None:
    if isinstance(k, int) and k > LIMIT:
        return f"expected k up to {LIMIT}, got {k}"
    return None


def _select(
    net: Net, x: Tensor, axis: int, k: Size, largest: bool, values: bool = True
) -> tuple[Tensor, Tensor]:
    """The k first in order along an axis, and their int64 positions."""
    if k == 0:
        found = net.narrow(x, axis, 0, 0)
        return found, net.full(net.sizes(found), 0, torch.int64)
    if x.ndim == 1:  # ITopKLayer wants two dimensions
        found, where = _select(net, net.unsqueeze(x, [0]), 1, k, largest, values)
        return net.squeeze(found, [0]), net.squeeze(where, [0])
    swapped = list(range(x.ndim))
    if x.ndim - axis > 4:  # ITopKLayer takes one of the last four dimensions
        swapped[axis], swapped[-1] = swapped[-1], swapped[axis]
        found, where = _select(net, net.transpose(x, swapped), x.ndim - 1, k, largest, values)
        return net.transpose(found, swapped), net.transpose(where, swapped)
    op = "MAX" if largest else "MIN"
    if x.dtype == torch.bool:
        found, where = net.topk(net.cast(x, torch.int32), op, k, axis)
        return net.cast(found, torch.bool), where
    if not is_float(x):
        return net.topk(x, op, k, axis)
    key = net.select(is_nan(net, x), constant(net, math.inf, x), x)
    found, where = net.topk(key, op, k, axis)
    return (net.gather_elements(x, where, axis) if values else found), where


def _along(
    net: Net, x: Tensor, dim: int, k: Size, largest: bool, values: bool = True
) -> tuple[Tensor, Tensor]:
    """`_select` for ATen's dim; a 0-dimensional x is its own order."""
    if x.ndim:
        return _select(net, x, dim % x.ndim, k, largest, values)
    return x, net.scalar(0, torch.int64)


@TABLE.converter("aten.topk.default", support=_NUMBERS, check=_check_k)
def topk(
    net: Net, self: Tensor, k: Size, dim: int, largest: bool, sorted: bool
) -> tuple[Tensor, Tensor]:
    return _along(net, self, dim, k, largest)


def _sorted(net: Net, x: Tensor, dim: int, descending: bool, values: bool) -> tuple[Tensor, Tensor]:
    size = net.size(x, dim % x.ndim) if x.ndim else 1
    return _along(net, x, dim, size, descending, values)


@TABLE.converter("aten.sort.default", check=_check_size)
def sort(net: Net, self: Tensor, dim: int, descending: bool) -> tuple[Tensor, Tensor]:
    return _sorted(net, self, dim, descending, True)


@TABLE.converter("aten.sort.stable", check=_check_size)
def sort_stable(
    net: Net, self: Tensor, stable: bool | None, dim: int, descending: bool
) -> tuple[Tensor, Tensor]:
    return _sorted(net, self, dim, descending, True)


@TABLE.converter("aten.argsort.default", check=_check_size)
def argsort(net: Net, self: Tensor, dim: int, descending: bool) -> Tensor:
    return _sorted(net, self, dim, descending, False)[1]


@TABLE.converter("aten.argsort.stable", check=_check_size)
def argsort_stable(net: Net, self: Tensor, stable: bool, dim: int, descending: bool) -> Tensor:
    return _sorted(net, self, dim, descending, False)[1]


# -- one of them ---------------------------------------------------------------------------


def _first(net: Net, x: Tensor, dim: int, keepdim: bool, largest: bool) -> tuple[Tensor, Tensor]:
    values, where = _along(net, x, dim, 1, largest)
    if not x.ndim or keepdim:
        return values, where
    axis = dim % x.ndim
    return net.squeeze(values, [axis]), net.squeeze(where, [axis])


def _greatest(net: Net, x: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    return _first(net, x, dim, keepdim, True)


def _smallest(net: Net, x: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    """NaN wins, as in the greatest: the place of NaN counts as -infinity."""
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
    """The k-th smallest, counted from 1."""
    if not x.ndim:
        return x, net.scalar(0, torch.int64)
    axis = dim % x.ndim
    last = net.size_op("sub", k, 1)
    values, where = (net.narrow(part, axis, last, 1) for part in _select(net, x, axis, k, False))
    if keepdim:
        return values, where
    return net.squeeze(values, [axis]), net.squeeze(where, [axis])


@TABLE.converter("aten.kthvalue.default", support=_NUMBERS, check=_check_k)
def kthvalue(net: Net, self: Tensor, k: Size, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    return _kth(net, self, k, dim, keepdim)


def _median(net: Net, x: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    """The lower of the middle ones; the first NaN where there is one."""
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
    if isinstance(size, int) and (size + 1) // 2 > LIMIT:
        return f"TensorRT orders at most {LIMIT} numbers: expected up to {2 * LIMIT}, got {size}"
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
    """The lower of the middle numbers; sorting puts NaN behind them."""
    if not x.ndim or not is_float(x):
        return _median(net, x, dim, keepdim)
    axis = dim % x.ndim
    values, where = _select(net, x, axis, net.size(x, axis), False)
    numbers = net.cast(net.equal(x, x), torch.int64)
    count = net.reduce(numbers, "SUM", [axis], True)
    middle = net.elementwise(net.sub(count, 1), constant(net, 2, count), "FLOOR_DIV")
    middle = net.elementwise(middle, constant(net, 0, middle), "MAX")  # no number: NaN itself
    found = [net.gather_elements(part, middle, axis) for part in (values, where)]
    if not keepdim:
        found = [net.squeeze(part, [axis]) for part in found]
    return found[0], found[1]


@TABLE.converter("aten.nanmedian.dim", support=_NUMBERS, check=_check_size)
def nanmedian_dim(net: Net, self: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    return _nanmedian(net, self, dim, keepdim)


@TABLE.converter("aten.nanmedian.default", support=_NUMBERS, check=_check_whole)
def nanmedian(net: Net, self: Tensor) -> Tensor:
    flat = net.reshape(self, [-1]) if self.ndim else self
    return _nanmedian(net, flat, 0, False)[0]


# -- bins ----------------------------------------------------------------------------------


def _bins(net: Net, x: Tensor, edges: Tensor, right: bool, out_int32: bool) -> Tensor:
    """How many edges lie before each number: n * m comparisons. NaN lies behind all."""
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
