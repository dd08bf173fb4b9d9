"""What converters write into: the layers, and the few idioms that nearly every operator needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from compiler.convert.idioms import short_sums
from compiler.network.kinds import Layers
from compiler.network.network import Size, Tensor
from compiler.network.recorder import FLOATS

Scalar = bool | int | float
Operand = Tensor | Scalar
"""A tensor, or a Python number as ATen takes it."""

INT64_MAX = (1 << 63) - 1
_SIZE_OPS = {
    "add": "SUM",
    "sub": "SUB",
    "mul": "PROD",
    "floordiv": "FLOOR_DIV",
    "max": "MAX",
    "min": "MIN",
}


class Net(Layers):
    """`Layers` with torch's type promotion, broadcasting and arithmetic on sizes."""

    # -- constants and types ---------------------------------------------------------------

    def scalar(self, value: Scalar, dtype: torch.dtype) -> Tensor:
        """A 0-dimensional constant."""
        return self.constant(torch.tensor(value, dtype=dtype))

    def tensor(self, operand: Operand, dtype: torch.dtype) -> Tensor:
        """The operand as a tensor of `dtype`."""
        return (
            self.cast(operand, dtype)
            if isinstance(operand, Tensor)
            else self.scalar(operand, dtype)
        )

    def promote(self, *operands: Operand, to_float: bool = False) -> tuple[Tensor, ...]:
        """Operands as tensors of the dtype that torch's promotion rules give them together.

        With `to_float`, integers and bools become torch's default float (as in `aten.div`).
        """
        dtype = self.result_type(*operands)
        if to_float and dtype not in FLOATS:
            dtype = torch.float32
        return tuple(self.tensor(operand, dtype) for operand in operands)

    @staticmethod
    def result_type(*operands: Operand) -> torch.dtype:
        """torch.result_type over tensors (0-dimensional ones rank lower) and numbers."""
        samples = [
            torch.empty((1,) * min(o.ndim, 1), dtype=o.dtype, device="meta")
            if isinstance(o, Tensor)
            else o
            for o in operands
        ]
        # Dimensioned tensors decide first, then 0-dimensional ones, then numbers.
        samples.sort(key=lambda s: s.ndim == 0 if isinstance(s, torch.Tensor) else 2)
        result = samples[0]
        for sample in samples:
            dtype = torch.result_type(result, sample)
            shape = result.shape if isinstance(result, torch.Tensor) else ()
            result = torch.empty(shape, dtype=dtype, device="meta")
        return dtype

    def bool_of(self, x: Tensor) -> Tensor:
        """x != 0 as bool."""
        return x if x.dtype == torch.bool else self.unary(self.equal(x, 0), "NOT")

    # -- comparison and arithmetic on promoted operands ------------------------------------

    def binary(self, a: Operand, b: Operand, op: str) -> Tensor:
        """An elementwise layer on promoted operands."""
        left, right = self.promote(a, b)
        return self.elementwise(left, right, op)

    def add(self, a: Operand, b: Operand) -> Tensor:
        return self.binary(a, b, "SUM")

    def sub(self, a: Operand, b: Operand) -> Tensor:
        return self.binary(a, b, "SUB")

    def mul(self, a: Operand, b: Operand) -> Tensor:
        return self.binary(a, b, "PROD")

    def div(self, a: Operand, b: Operand) -> Tensor:
        """True division: integers become float32."""
        left, right = self.promote(a, b, to_float=True)
        return self.elementwise(left, right, "DIV")

    def equal(self, a: Operand, b: Operand) -> Tensor:
        return self.compare(a, b, "EQUAL")

    def compare(self, a: Operand, b: Operand, op: str) -> Tensor:
        """EQUAL, GREATER or LESS; TensorRT orders no bools, so they compare as int32."""
        left, right = self.promote(a, b)
        if left.dtype == torch.bool and op != "EQUAL":
            left, right = self.cast(left, torch.int32), self.cast(right, torch.int32)
        return self.elementwise(left, right, op)

    # -- sums over few elements: compiler/convert/idioms/short_sums.py says why they are lengthened -----

    def reduce(self, x: Tensor, op: str, axes: Sequence[int], keep: bool) -> Tensor:
        """As `Layers.reduce`."""
        if axes and all(x.shape[axis] == 1 for axis in axes):
            return x if keep else self.squeeze(x, axes)
        axis = short_sums.short_axis(x, axes)
        if axis is None:
            return super().reduce(x, op, axes, keep)
        if op == "AVG":  # in float32: a sum of halves can overflow where their mean does not
            total = self.reduce(self.cast(x, torch.float32), "SUM", axes, keep)
            return self.cast(self.div(total, x.shape[axis] or 1), x.dtype)
        return super().reduce(
            short_sums.lengthen(self, x, axis, short_sums.NEUTRAL[op]), op, axes, keep
        )

    def softmax(self, x: Tensor, axis: int) -> Tensor:
        """As `Layers.softmax`."""
        if short_sums.short_axis(x, [axis]) is None:
            return super().softmax(x, axis)
        long = super().softmax(short_sums.lengthen(self, x, axis, -math.inf), axis)
        return self.narrow(long, axis, 0, self.size(x, axis))

    def matmul(
        self, a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False
    ) -> Tensor:
        """As `Layers.matmul`; over one element it is a product of each with each."""
        left, right = a.ndim - 1 - transpose_a, b.ndim - 2 + transpose_b
        if a.is_static and b.is_static and a.shape[left] == 1:
            return self.elementwise(
                _turned(self, a, transpose_a), _turned(self, b, transpose_b), "PROD"
            )
        if None not in (short_sums.short_axis(a, [left]), short_sums.short_axis(b, [right])):
            a, b = short_sums.lengthen(self, a, left, 0.0), short_sums.lengthen(self, b, right, 0.0)
        return super().matmul(a, b, transpose_a, transpose_b)

    # -- sizes -----------------------------------------------------------------------------

    def size_op(self, op: str, a: Size, b: Size) -> Size:
        """add, sub, mul, floordiv, max or min of two sizes (floordiv of non-negative ones)."""
        if isinstance(a, int) and isinstance(b, int):
            return int(getattr(_IntOps, op)(a, b))
        left, right = (self.scalar(n, torch.int64) if isinstance(n, int) else n for n in (a, b))
        return self.elementwise(left, right, _SIZE_OPS[op])

    def product(self, sizes: Sequence[Size]) -> Size:
        """The product of sizes."""
        result: Size = 1
        for n in sizes:
            result = self.size_op("mul", result, n)
        return result

    # -- shape idioms ----------------------------------------------------------------------

    def expand(self, x: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Broadcast x to `sizes` (rank at least x's; -1 keeps x's size), as aten.expand does."""
        x = self.unsqueeze(x, range(len(sizes) - x.ndim))
        target: list[Size] = []
        stride: list[int] = []
        for axis, n in enumerate(sizes):
            repeat = x.shape[axis] == 1 and not (isinstance(n, int) and n in (1, -1))
            target.append(n if repeat else self.size(x, axis))
            stride.append(0 if repeat else 1)
        if 0 not in stride:
            return x
        return self.slice(x, [0] * x.ndim, target, stride)

    def full(self, sizes: Sequence[Size], value: Operand, dtype: torch.dtype) -> Tensor:
        """A tensor of `sizes` filled with one value."""
        scalar = self.tensor(value, dtype)
        if not sizes:
            return scalar
        if all(isinstance(n, int) for n in sizes) and scalar.constant is not None:
            static = [n for n in sizes if isinstance(n, int)]
            if torch.Size(static).numel() <= 4096:
                return self.constant(torch.full(static, scalar.constant.item(), dtype=dtype))
        return self.expand(scalar, sizes)

    def narrow(self, x: Tensor, axis: int, start: Size, length: Size, step: int = 1) -> Tensor:
        """x[start : start + length * step : step] along one axis, within bounds."""
        starts: list[Size] = [0] * x.ndim
        sizes = self.sizes(x)
        steps = [1] * x.ndim
        starts[axis], sizes[axis], steps[axis] = start, length, step
        return self.slice(x, starts, sizes, steps)

    def arange(self, size: Size, dtype: torch.dtype = torch.int64) -> Tensor:
        """0, 1, ... size - 1."""
        if isinstance(size, int):
            return self.constant(torch.arange(size, dtype=dtype))
        return self.linspace(size, self.scalar(0, dtype), self.scalar(1, dtype))

    def flatten(self, x: Tensor, start: int, end: int) -> Tensor:
        """Merge dims start..end (inclusive, non-negative) into one."""
        sizes = self.sizes(x)
        return self.reshape(
            x, [*sizes[:start], self.product(sizes[start : end + 1]), *sizes[end + 1 :]]
        )


def _turned(net: Net, x: Tensor, transpose: bool) -> Tensor:
    """x, with its last two dims exchanged where `transpose`."""
    order = [*range(x.ndim - 2), x.ndim - 1, x.ndim - 2]
    return net.transpose(x, order) if transpose else x


class _IntOps:
    """`size_op` on numbers."""

    add = staticmethod(lambda a, b: a + b)
    sub = staticmethod(lambda a, b: a - b)
    mul = staticmethod(lambda a, b: a * b)
    floordiv = staticmethod(lambda a, b: a // b)
    max = staticmethod(max)
    min = staticmethod(min)
