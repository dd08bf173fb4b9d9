"""Padding: one slice that reads outside its input."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.convert.idioms.positions import plain
from compiler.convert.net import Net, Scalar
from compiler.convert.registry import Table
from compiler.network.network import Size, Tensor

TABLE = Table("pad")

MODES = {"reflect": "REFLECT", "replicate": "CLAMP", "circular": "WRAP"}
ENUM = ("reflect", "replicate", "circular", "constant")


def padded(net: Net, x: Tensor, pad: Sequence[Size], mode: str, value: Scalar = 0) -> Tensor:
    """x padded with `pad` elements (last dim first, each before and after); negative numbers crop.

    `mode` is one of torch's; "constant" fills with value.
    """
    counts = [plain(n) for n in pad]
    if all(isinstance(n, int) and n == 0 for n in counts):
        return x
    cut = [n if isinstance(n, int) and n < 0 else 0 for n in counts]
    if mode == "circular" and any(cut) and cut != counts:
        # Wrapping reads what cropping has left.
        rest = [n if c == 0 else 0 for n, c in zip(counts, cut, strict=True)]
        return padded(net, padded(net, x, cut, mode), rest, mode)
    start: list[Size] = [0] * x.ndim
    sizes = net.sizes(x)
    for i in range(len(counts) // 2):
        axis, before, after = x.ndim - 1 - i, counts[2 * i], counts[2 * i + 1]
        start[axis] = net.size_op("sub", 0, before)
        sizes[axis] = net.size_op("add", sizes[axis], net.size_op("add", before, after))
    ones = [1] * x.ndim
    if mode == "constant":
        return net.slice(x, start, sizes, ones, "FILL", net.scalar(value, x.dtype))
    return net.slice(x, start, sizes, ones, MODES[mode])


@TABLE.converter("aten.constant_pad_nd.default")
def constant_pad_nd(net: Net, self: Tensor, pad: Sequence[Size], value: Scalar) -> Tensor:
    """Padded with a constant value."""
    return padded(net, self, pad, "constant", value)


@TABLE.converter("aten.pad.default")
def pad(net: Net, self: Tensor, pad: Sequence[Size], mode: str, value: float | None) -> Tensor:
    """Padded by mode: constant, reflect, replicate or circular."""
    return padded(net, self, pad, mode, value or 0)


@TABLE.converter("aten._pad_enum.default")
def pad_enum(net: Net, self: Tensor, pad: Sequence[Size], mode: int, value: float | None) -> Tensor:
    """As `pad`, with the mode as a number."""
    return padded(net, self, pad, ENUM[mode], value or 0)


@TABLE.converter("aten._pad_circular.default")
def pad_circular(net: Net, self: Tensor, pad: Sequence[Size]) -> Tensor:
    """Padded with the elements of the other end."""
    return padded(net, self, pad, "circular")


@TABLE.converter(
    "aten.reflection_pad1d.default", "aten.reflection_pad2d.default", "aten.reflection_pad3d.default"
)  # fmt: skip
def reflection_pad(net: Net, self: Tensor, padding: Sequence[Size]) -> Tensor:
    """Padded with the mirror image; the edge is not repeated."""
    return padded(net, self, padding, "reflect")


@TABLE.converter(
    "aten.replication_pad1d.default", "aten.replication_pad2d.default", "aten.replication_pad3d.default"
)  # fmt: skip
def replication_pad(net: Net, self: Tensor, padding: Sequence[Size]) -> Tensor:
    """Padded with the edge element."""
    return padded(net, self, padding, "replicate")
