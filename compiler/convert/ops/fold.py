"""Windows summed back into the plane they were taken from."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compiler.convert.idioms.positions import plain
from compiler.convert.net import Net
from compiler.convert.registry import NUMBERS, Support, Table
from compiler.network.network import Size, Tensor
from compiler.network.recorder import FLOATS

TABLE = Table("fold")


@TABLE.converter("aten.col2im.default", support=Support(dtypes=NUMBERS))
def col2im(
    net: Net, self: Tensor, output_size: Sequence[Size], kernel_size: Sequence[int],
    dilation: Sequence[int], padding: Sequence[int], stride: Sequence[int],
) -> Tensor:  # fmt: skip
    """[n, c * kh * kw, windows] (or without n) to [n, c, h, w].

    One axis at a time: each place gathers and sums the windows that cover it.
    """
    x = self if self.ndim == 3 else net.unsqueeze(self, [0])
    batch, rows, _ = net.sizes(x)
    channels = net.size_op("floordiv", rows, kernel_size[0] * kernel_size[1])
    lengths = [plain(n) for n in output_size]
    axes = [_Axis(lengths[i], kernel_size[i], dilation[i], padding[i], stride[i]) for i in range(2)]
    counts = [axis.windows(net) for axis in axes]
    parts = net.reshape(x, [batch, channels, *kernel_size, *counts])
    parts = net.transpose(parts, [0, 1, 2, 4, 3, 5])
    merged = [net.size_op("mul", k, n) for k, n in zip(kernel_size, counts, strict=True)]
    plane = net.reshape(parts, [batch, channels, *merged])
    if self.dtype in FLOATS:
        plane = net.cast(plane, torch.float32)
    for i, axis in enumerate(axes):
        plane = axis.sum(net, plane, 2 + i, counts[i])
    plane = net.cast(plane, self.dtype)
    return plane if self.ndim == 3 else net.squeeze(plane, [0])


class _Axis:
    """One spatial axis: its length, and how windows lie on it."""

    def __init__(self, length: Size, kernel: int, dilation: int, pad: int, stride: int) -> None:
        self.length, self.kernel, self.dilation = length, kernel, dilation
        self.pad, self.stride = pad, stride

    def windows(self, net: Net) -> Size:
        """The number of windows along the axis."""
        span = self.dilation * (self.kernel - 1) + 1
        room = net.size_op("add", self.length, 2 * self.pad - span)
        return net.size_op("add", net.size_op("floordiv", room, self.stride), 1)

    def sum(self, net: Net, x: Tensor, axis: int, count: Size) -> Tensor:
        """[..., kernel * windows, ...] to [..., length, ...]: the sum of what covers each place."""
        steps = net.unsqueeze(net.arange(self.kernel), [0])
        begin = net.unsqueeze(net.add(net.arange(self.length), self.pad), [1])
        begin = net.sub(begin, net.mul(steps, self.dilation))
        window = net.binary(net.binary(begin, 0, "MAX"), self.stride, "DIV")
        exact = net.equal(net.mul(window, self.stride), begin)
        whole = net.tensor(count, torch.int64)
        covers = net.elementwise(exact, net.compare(window, whole, "LESS"), "AND")
        index = net.add(net.mul(steps, whole), net.binary(window, net.sub(whole, 1), "MIN"))
        read = net.gather(x, index, axis)
        covers = net.unsqueeze(covers, range(2, read.ndim - axis))
        kept = net.select(covers, read, net.scalar(0, x.dtype))
        return net.reduce(kept, "SUM", [axis + 1], False)
