"""Interpolation along one axis at a time, with exactly torch's coordinates.

Used for resizes whose coordinates TensorRT's layer would compute differently.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from compiler.convert.idioms.positions import size_tensor
from compiler.convert.net import Net
from compiler.network.network import Size, Tensor

CUBIC = -0.75


@dataclass(frozen=True)
class Axis:
    """A spatial axis of x: its size before and after, and the scale factor if the call gives one."""

    axis: int
    before: Size
    after: Size
    factor: float | None

    @property
    def exact(self) -> bool:
        """Whether the step between coordinates is before / after, even if a factor is given."""
        if self.factor is None:
            return True
        if isinstance(self.before, int) and isinstance(self.after, int):
            return self.before * self.factor == self.after
        return float(self.factor).is_integer()

    @property
    def doubling(self) -> bool:
        """Whether the size grows by a power of two, so that every nearest coordinate is exact."""
        if not (isinstance(self.before, int) and isinstance(self.after, int)):
            growth = self.factor or 0.0
        else:
            growth = self.after / self.before if self.exact and self.before else 0.0
        return growth >= 1 and growth.is_integer() and int(growth).bit_count() == 1

    def step(self, net: Net, corners: bool) -> Tensor:
        """How many input elements one output element advances, float32."""
        if corners:
            if isinstance(self.before, int) and isinstance(self.after, int):
                wide = self.after > 1
                return _float((self.before - 1) / (self.after - 1) if wide else 0.0, net)
            steps = net.size_op("max", net.size_op("sub", self.after, 1), 1)
            return net.div(
                _as_float(net, net.size_op("sub", self.before, 1)), _as_float(net, steps)
            )
        if self.factor is not None:
            return _float(1.0 / self.factor, net)
        return net.div(_as_float(net, self.before), _as_float(net, self.after))

    def source(self, net: Net, corners: bool, clamp: bool) -> Tensor:
        """The coordinate in x of every output element, float32 [after]."""
        number, step = net.arange(self.after, torch.float32), self.step(net, corners)
        if corners:
            return net.mul(number, step)
        place = net.sub(net.mul(net.add(number, 0.5), step), 0.5)
        return net.binary(place, 0.0, "MAX") if clamp else place


def nearest(net: Net, x: Tensor, axis: Axis, centred: bool) -> Tensor:
    """The element at the coordinate rounded down (that of the output element's centre if `centred`)."""
    number = net.arange(axis.after, torch.float32)
    place = net.mul(net.add(number, 0.5) if centred else number, axis.step(net, False))
    return net.gather(x, _bounded(net, net.unary(place, "FLOOR"), axis), axis.axis)


def linear(net: Net, x: Tensor, axis: Axis, corners: bool) -> Tensor:
    """Two neighbours weighted by distance; x is float32."""
    source = axis.source(net, corners, clamp=True)
    base = net.unary(source, "FLOOR")
    right = net.sub(source, base)
    taps = [(base, net.sub(1.0, right)), (net.add(base, 1.0), right)]
    return _blend(net, x, axis, taps)


def cubic(net: Net, x: Tensor, axis: Axis, corners: bool) -> Tensor:
    """Four neighbours weighted by the cubic convolution kernel; x is float32."""
    source = axis.source(net, corners, clamp=False)
    base = net.unary(source, "FLOOR")
    t = net.sub(source, base)
    s = net.sub(1.0, t)
    taps = [
        (net.add(base, -1.0), _far(net, net.add(t, 1.0))), (base, _near(net, t)),
        (net.add(base, 1.0), _near(net, s)), (net.add(base, 2.0), _far(net, net.add(s, 1.0))),
    ]  # fmt: skip
    return _blend(net, x, axis, taps)


def _near(net: Net, d: Tensor) -> Tensor:
    """The cubic kernel at distances up to 1."""
    inner = net.sub(net.mul(d, CUBIC + 2), CUBIC + 3)
    return net.add(net.mul(net.mul(inner, d), d), 1.0)


def _far(net: Net, d: Tensor) -> Tensor:
    """The cubic kernel at distances from 1 to 2."""
    inner = net.add(net.mul(net.sub(net.mul(d, CUBIC), 5 * CUBIC), d), 8 * CUBIC)
    return net.sub(net.mul(inner, d), 4 * CUBIC)


def _blend(net: Net, x: Tensor, axis: Axis, taps: list[tuple[Tensor, Tensor]]) -> Tensor:
    behind = range(1, x.ndim - axis.axis)
    parts = [
        net.mul(net.gather(x, _bounded(net, place, axis), axis.axis), net.unsqueeze(weight, behind))
        for place, weight in taps
    ]
    total = parts[0]
    for part in parts[1:]:
        total = net.add(total, part)
    return total


def _bounded(net: Net, place: Tensor, axis: Axis) -> Tensor:
    """Whole coordinates as positions, clamped to x."""
    index = net.binary(net.cast(place, torch.int64), 0, "MAX")
    return net.binary(index, net.sub(size_tensor(net, axis.before), 1), "MIN")


def _float(value: float, net: Net) -> Tensor:
    return net.scalar(value, torch.float32)


def _as_float(net: Net, size: Size) -> Tensor:
    return net.cast(size_tensor(net, size), torch.float32)
