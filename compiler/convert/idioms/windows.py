"""Windows gathered along one axis at a time: `[..., out, window, ...]`, ready to be reduced.

Used for poolings that TensorRT's layer does not support.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from compiler.convert.idioms.positions import plain, size_tensor
from compiler.convert.net import Net
from compiler.network.network import Size, Tensor
from compiler.network.recorder import FLOATS


@dataclass(frozen=True)
class Window:
    """Windows along one axis, in elements."""

    size: int
    stride: int
    pad: int
    dilation: int
    ceil: bool

    @property
    def span(self) -> int:
        return self.dilation * (self.size - 1) + 1

    def count(self, net: Net, length: Size) -> Size:
        """The number of windows. With `ceil`, partial ones count if they start before the end padding."""
        room = net.size_op("add", length, 2 * self.pad - self.span)
        if not self.ceil:
            return net.size_op("add", net.size_op("floordiv", room, self.stride), 1)
        room = net.size_op("add", room, self.stride - 1)
        most = net.size_op("add", net.size_op("floordiv", room, self.stride), 1)
        inside = net.size_op("add", length, self.pad + self.stride - 1)
        return net.size_op("min", most, net.size_op("floordiv", inside, self.stride))


def windows(
    kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int], dilation: Sequence[int],
    ceil: bool, rank: int,
) -> list[Window]:  # fmt: skip
    """The windows of `rank` spatial axes, from torch's arguments."""
    size = _each(kernel, rank)
    strides, pads, dilations = (_each(v, rank) for v in (stride or size, pad, dilation))
    return [Window(size[i], strides[i], pads[i], dilations[i], ceil) for i in range(rank)]


def _each(values: Sequence[int] | int, count: int) -> list[int]:
    given = [values] if isinstance(values, int) else list(values)
    return given * count if len(given) == 1 else given


@dataclass(frozen=True)
class Span:
    """The positions that each window reads, [out, window]; which of them lie in x, and which in x or its
    padding."""

    index: Tensor
    valid: Tensor
    padded: Tensor
    axis: int


def spans(net: Net, x: Tensor, window: Window, axis: int) -> Span:
    length = net.size(x, axis)
    count = window.count(net, length)
    starts = net.sub(net.mul(net.arange(plain(count)), window.stride), window.pad)
    steps = net.mul(net.arange(window.size), window.dilation)
    index = net.add(net.unsqueeze(starts, [1]), net.unsqueeze(steps, [0]))
    edge = size_tensor(net, net.size_op("add", length, window.pad))
    padded = net.compare(index, edge, "LESS")
    return Span(*_inside(net, index, length), padded, axis)


def _inside(net: Net, index: Tensor, length: Size) -> tuple[Tensor, Tensor]:
    """The positions clamped to 0..length - 1, and which of them were in that range."""
    size = size_tensor(net, length)
    low = net.compare(index, -1, "GREATER")
    valid = net.elementwise(low, net.compare(index, size, "LESS"), "AND")
    last = net.sub(size, 1)
    bounded = net.binary(net.binary(index, 0, "MAX"), last, "MIN")
    return bounded, valid


def gathered(net: Net, x: Tensor, span: Span, axis: int, outside: float) -> Tensor:
    """The windows of x along an axis, [..., out, window, ...], with `outside` where they leave x."""
    read = net.gather(x, span.index, axis)
    valid = net.unsqueeze(span.valid, range(2, read.ndim - axis))
    return net.select(valid, read, net.scalar(outside, x.dtype))


def _lowest(dtype: torch.dtype) -> float:
    return -math.inf if dtype in FLOATS else torch.iinfo(dtype).min


def first_largest(net: Net, x: Tensor, spans: Sequence[Span]) -> tuple[Tensor, Tensor]:
    """The largest element of each window over the spans' axes, and its first position in their plane.

    The axes are reduced one by one, the last one first. Of equal elements the topmost row's first one
    wins, so the position is the smallest flat one. NaN is larger than anything.
    """
    values: Tensor = x
    places: Tensor | None = None
    pace: Size = 1
    nowhere = net.scalar((1 << 62), torch.int64)
    for span in reversed(spans):
        axis = span.axis
        read = gathered(net, values, span, axis, _lowest(x.dtype))
        top = net.reduce(read, "MAX", [axis + 1], True)
        hit = net.equal(read, top)
        if x.dtype in FLOATS:
            nan = net.unary(read, "ISNAN")
            any_nan = net.reduce(net.cast(nan, torch.int32), "MAX", [axis + 1], True)
            some = net.compare(any_nan, 0, "GREATER")
            hit = net.select(some, nan, hit)
            top = net.select(some, net.scalar(math.nan, x.dtype), top)
        valid = net.unsqueeze(span.valid, range(2, read.ndim - axis))
        hit = net.elementwise(hit, valid, "AND")
        steps = net.unsqueeze(
            net.mul(span.index, size_tensor(net, pace)), range(2, read.ndim - axis)
        )
        if places is not None:
            steps = net.add(steps, net.gather(places, span.index, axis))
        found = net.reduce(net.select(hit, steps, nowhere), "MIN", [axis + 1], False)
        values, places = net.squeeze(top, [axis + 1]), found
        pace = net.size_op("mul", pace, net.size(x, axis))
    assert places is not None
    return values, places


def adaptive_spans(net: Net, x: Tensor, sizes: Sequence[Size]) -> list[Span]:
    """Adaptive windows: window i of n runs from floor(i * length / n) to ceil((i + 1) * length / n)."""
    found = []
    for i, size in enumerate(sizes):
        axis = x.ndim - len(sizes) + i
        length = net.size(x, axis)
        count, whole = size_tensor(net, plain(size)), size_tensor(net, length)
        number = net.arange(plain(size))
        start = net.binary(net.mul(number, whole), count, "DIV")
        above = net.add(net.mul(net.add(number, 1), whole), net.sub(count, 1))
        end = net.unsqueeze(net.binary(above, count, "DIV"), [1])
        widest = net.size_op("add", net.size_op("floordiv", net.size_op("sub", length, 1), size), 2)
        index = net.add(net.unsqueeze(start, [1]), net.unsqueeze(net.arange(widest), [0]))
        mine = net.compare(index, end, "LESS")
        bounded, valid = _inside(net, index, length)
        valid = net.elementwise(valid, mine, "AND")
        found.append(Span(bounded, valid, valid, axis))
    return found
