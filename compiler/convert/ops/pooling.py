"""Pooling over windows, with torch's rules for partial windows.

TensorRT's pooling layer takes the usual cases. The others (dilation, indices, integers, divisors
of partial windows, dynamic sizes with ceil_mode, uneven adaptive windows) gather each window along
one axis at a time: `[..., out, window, ...]`, then reduce.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from compiler.convert.idioms.axes import plain
from compiler.convert.idioms.numeric import constant, is_nan
from compiler.convert.idioms.windows import (
    Window,
    adaptive_spans,
    first_largest,
    gathered,
    spans,
    windows,
)
from compiler.convert.net import Net
from compiler.convert.registry import FLOATS as FLOAT_NAMES
from compiler.convert.registry import NUMBERS, Support, Table
from compiler.network.network import Size, Tensor
from compiler.network.recorder import FLOATS

TABLE = Table("pooling")
FLOAT = Support(dtypes=FLOAT_NAMES)
NUMBER = Support(dtypes=NUMBERS)


# -- maximum -------------------------------------------------------------------------------


def _max_pool(rank: int, indices: bool) -> None:
    name = f"max_pool{rank}d" + ("_with_indices" if indices else "")

    def convert(
        net: Net, self: Tensor, kernel_size: Sequence[int], stride: Sequence[int],
        padding: Sequence[int], dilation: Sequence[int], ceil_mode: bool,
    ) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
        parts = windows(kernel_size, stride, padding, dilation, ceil_mode, rank)
        if not indices:
            return maximum(net, self, parts)
        axes = [spans(net, self, w, self.ndim - rank + i) for i, w in enumerate(parts)]
        return first_largest(net, self, axes)

    convert.__doc__ = f"aten.{name}: the largest of each window."
    TABLE.row(f"aten.{name}.default", convert, NUMBER)


for _rank in (1, 2, 3):
    _max_pool(_rank, indices=False)
    _max_pool(_rank, indices=True)


def maximum(net: Net, x: Tensor, parts: Sequence[Window]) -> Tensor:
    """The largest element of each window over the last axes; NaN wins."""
    parts = _clipped(x, parts)
    layer = _fits_layer(x, parts)
    if layer is None:
        axes = [spans(net, x, w, x.ndim - len(parts) + i) for i, w in enumerate(parts)]
        return first_largest(net, x, axes)[0]
    # The layer drops NaN, so where they are is pooled beside the numbers.
    nan = net.cast(is_nan(net, x), x.dtype)
    values, spoiled = (_layer(net, t, parts, "MAX", layer, exclude=True) for t in (x, nan))
    return net.select(net.compare(spoiled, 0.0, "GREATER"), constant(net, math.nan, x), values)


def _clipped(x: Tensor, parts: Sequence[Window]) -> list[Window]:
    """Windows that reach beyond the whole padded axis, as ceil_mode allows, cut to its size.

    Global pooling is spelled so in EfficientNet, with windows that TensorRT finds too large.
    """
    result = []
    for w, length in zip(parts, x.shape[x.ndim - len(parts) :], strict=True):
        whole = w.size if length is None or w.dilation != 1 else length + 2 * w.pad
        result.append(replace(w, size=min(w.size, whole)))
    return result


def _fits_layer(x: Tensor, parts: Sequence[Window]) -> list[int] | None:
    """The padding behind each axis for TensorRT's layer, or None where it has no such pooling."""
    if x.dtype not in FLOATS or any(w.dilation != 1 for w in parts):
        return None
    post = []
    for w, length in zip(parts, x.shape[x.ndim - len(parts) :], strict=True):
        if not w.ceil:
            post.append(w.pad)
        elif length is not None:
            most = -(-(length + 2 * w.pad - w.size) // w.stride) + 1
            count = min(most, (length + w.pad + w.stride - 1) // w.stride)
            post.append(max((count - 1) * w.stride + w.size - length - w.pad, 0))
        else:
            return None
    return post


def _layer(
    net: Net, x: Tensor, parts: Sequence[Window], op: str, post: Sequence[int], exclude: bool
) -> Tensor:
    """TensorRT's pooling of rank 4 or 5; a single axis gets one of size one beside it."""
    rank, missing = len(parts), len(parts) + 2 - x.ndim
    full = net.unsqueeze(x, range(missing))
    size, stride, pre = [w.size for w in parts], [w.stride for w in parts], [w.pad for w in parts]
    post = list(post)
    if rank == 1:
        full = net.unsqueeze(full, [3])
        size, stride, pre, post = [*size, 1], [*stride, 1], [*pre, 0], [*post, 0]
    result = net.pooling(full, op, size, stride=stride, pre=pre, post=post, exclude_padding=exclude)
    if rank == 1:
        result = net.squeeze(result, [3])
    return net.squeeze(result, range(missing))


# -- average -------------------------------------------------------------------------------


def _avg_pool(rank: int) -> None:
    def convert(
        net: Net, self: Tensor, kernel_size: Sequence[int], stride: Sequence[int],
        padding: Sequence[int], ceil_mode: bool, count_include_pad: bool,
        divisor_override: int | None,
    ) -> Tensor:  # fmt: skip
        parts = windows(kernel_size, stride, padding, [1], ceil_mode, rank)
        return average(net, self, parts, count_include_pad, divisor_override)

    convert.__doc__ = f"aten.avg_pool{rank}d: the mean of each window."
    TABLE.row(f"aten.avg_pool{rank}d.default", convert, FLOAT)


for _rank in (2, 3):
    _avg_pool(_rank)


@TABLE.converter("aten.avg_pool1d.default", support=FLOAT)
def avg_pool1d(
    net: Net, self: Tensor, kernel_size: Sequence[int], stride: Sequence[int],
    padding: Sequence[int], ceil_mode: bool, count_include_pad: bool,
) -> Tensor:  # fmt: skip
    """The mean of each window."""
    parts = windows(kernel_size, stride, padding, [1], ceil_mode, 1)
    return average(net, self, parts, count_include_pad, None)


def average(
    net: Net, x: Tensor, parts: Sequence[Window], include_pad: bool, divisor: int | None
) -> Tensor:
    """Sums over windows, over the elements counted: those of x, or also of its padding (but not of
    what ceil mode adds), or `divisor`.
    """
    parts = _clipped(x, parts)
    post = _fits_layer(x, parts)
    beyond = post is None or any(p > w.pad for p, w in zip(post, parts, strict=True))
    whole = math.prod(w.size for w in parts)
    padded = any(w.pad for w in parts)
    if post is not None and divisor is not None:
        mean = _layer(net, x, parts, "AVERAGE", post, exclude=False)
        return net.mul(mean, whole / divisor)
    if post is not None and (not include_pad or not padded or not beyond):
        return _layer(
            net, x, parts, "AVERAGE", post, exclude=not (include_pad and padded and not beyond)
        )
    total, count = net.cast(x, torch.float32), net.scalar(1.0, torch.float32)
    for i, window in enumerate(parts):
        axis = x.ndim - len(parts) + i
        span = spans(net, x, window, axis)
        total = gathered(net, total, span, axis, 0.0)
        total = net.reduce(total, "SUM", [axis + 1], False)
        kept = span.padded if include_pad else span.valid
        found = net.reduce(net.cast(kept, torch.int32), "SUM", [1], False)
        found = net.unsqueeze(net.cast(found, torch.float32), range(1, x.ndim - axis))
        count = net.mul(count, found)
    scale = count if divisor is None else net.scalar(float(divisor), torch.float32)
    return net.cast(net.div(total, scale), x.dtype)


# -- adaptive ------------------------------------------------------------------------------


def _even(x: Tensor, sizes: Sequence[Size]) -> list[Window] | None:
    """Equal windows, where every size is static and divides its length."""
    parts = []
    for length, size in zip(x.shape[x.ndim - len(sizes) :], sizes, strict=True):
        if length is None or not isinstance(size, int) or not size or length % size:
            return None
        parts.append(Window(length // size, length // size, 0, 1, False))
    return parts


def adaptive_average(net: Net, x: Tensor, output_size: Sequence[Size]) -> Tensor:
    """Means of `output_size` windows over the last axes, of nearly one size."""
    sizes = [plain(n) for n in output_size]
    axes = range(x.ndim - len(sizes), x.ndim)
    if all(isinstance(n, int) and n == 1 for n in sizes):
        return net.reduce(x, "AVG", list(axes), True)
    even = _even(x, sizes)
    if even is not None:
        return _layer(net, x, even, "AVERAGE", [0] * len(even), exclude=True)
    total = net.cast(x, torch.float32)
    for span in adaptive_spans(net, x, sizes):
        read = gathered(net, total, span, span.axis, 0.0)
        total = net.reduce(read, "SUM", [span.axis + 1], False)
        found = net.reduce(net.cast(span.valid, torch.int32), "SUM", [1], False)
        count = net.unsqueeze(net.cast(found, torch.float32), range(1, x.ndim - span.axis))
        total = net.div(total, count)
    return net.cast(total, x.dtype)


@TABLE.converter(
    "aten.adaptive_avg_pool1d.default", "aten.adaptive_avg_pool2d.default",
    "aten._adaptive_avg_pool2d.default", "aten.adaptive_avg_pool3d.default",
    "aten._adaptive_avg_pool3d.default", support=FLOAT,
)  # fmt: skip
def adaptive_avg_pool(net: Net, self: Tensor, output_size: Sequence[Size]) -> Tensor:
    """As `adaptive_average`."""
    return adaptive_average(net, self, output_size)


@TABLE.converter(
    "aten.adaptive_max_pool1d.default", "aten.adaptive_max_pool2d.default",
    "aten.adaptive_max_pool3d.default", support=NUMBER,
)  # fmt: skip
def adaptive_max_pool(net: Net, self: Tensor, output_size: Sequence[Size]) -> tuple[Tensor, Tensor]:
    """The largest of each window, and its position in the plane."""
    sizes = [plain(n) for n in output_size]
    return first_largest(net, self, adaptive_spans(net, self, sizes))
