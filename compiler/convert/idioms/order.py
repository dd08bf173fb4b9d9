"""The first elements in order along a dimension, for sorts, top-k and medians.

ITopKLayer returns at most 3840 elements in order, equal ones by ascending index. It loses NaN, which
torch counts as larger than every number. So positions are found with NaN replaced by infinity, and
values are read at those positions.
"""

from __future__ import annotations

import math

import torch

from compiler.convert.idioms.numeric import constant, is_float, is_nan
from compiler.convert.net import Net
from compiler.network.network import Size, Tensor
from enginebundle.format.graph import Value

LONGEST_SORT = 3840
"""The most elements that ITopKLayer returns."""


def check_sort(self: Value, dim: int | None) -> str | None:
    """Why a dimension cannot be sorted, or None. Sorting asks for as many elements as it has."""
    size = self.shape[dim] if self.shape and dim is not None else 1
    if isinstance(size, int) and size > LONGEST_SORT:
        return f"expected at most {LONGEST_SORT} numbers to sort (TensorRT's limit), got {size}"
    return None


def check_count(k: object) -> str | None:
    if isinstance(k, int) and k > LONGEST_SORT:
        return f"expected k up to {LONGEST_SORT}, got {k}"
    return None


def first_of(
    net: Net, x: Tensor, axis: int, k: Size, largest: bool, values: bool = True
) -> tuple[Tensor, Tensor]:
    """The first k elements in order along an axis, and their int64 positions.

    With values=False the first result is not meaningful.
    """
    if k == 0:
        found = net.narrow(x, axis, 0, 0)
        return found, net.full(net.sizes(found), 0, torch.int64)
    if x.ndim == 1:  # ITopKLayer wants two dimensions
        found, where = first_of(net, net.unsqueeze(x, [0]), 1, k, largest, values)
        return net.squeeze(found, [0]), net.squeeze(where, [0])
    swapped = list(range(x.ndim))
    if x.ndim - axis > 4:  # ITopKLayer takes one of the last four dimensions
        swapped[axis], swapped[-1] = swapped[-1], swapped[axis]
        found, where = first_of(net, net.transpose(x, swapped), x.ndim - 1, k, largest, values)
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


def along(
    net: Net, x: Tensor, dim: int, k: Size, largest: bool, values: bool = True
) -> tuple[Tensor, Tensor]:
    """`first_of` along ATen's dim, which may be negative; a 0-dimensional x is returned unchanged."""
    if x.ndim:
        return first_of(net, x, dim % x.ndim, k, largest, values)
    return x, net.scalar(0, torch.int64)
