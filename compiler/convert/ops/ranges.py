"""Evenly spaced numbers: arange, linspace and logspace. Static ones become constants."""

from __future__ import annotations

import torch

from compiler.convert.idioms.numeric import constant, less
from compiler.convert.net import Net, Operand, Scalar
from compiler.convert.registry import Table
from compiler.network.network import Size, Tensor
from compiler.network.recorder import FLOATS
from enginebundle.format.graph import Value

TABLE = Table("ranges")


def _is_size(number: object) -> bool:
    """Whether it is a whole number: an int, a size, or a float without a fraction."""
    if isinstance(number, Value):
        return number.dtype == "symint"
    return isinstance(number, int) or (isinstance(number, float) and number.is_integer())


def _check_range(start: object, end: object, step: object) -> str | None:
    numbers = (start, end, step)
    if not any(isinstance(n, Value) for n in numbers):
        return None
    if isinstance(step, Value):
        return "expected a constant step, got a computed one"
    if not all(_is_size(n) for n in numbers):
        return f"expected whole numbers beside a computed start or end, got {numbers}"
    return None


def _check_end(end: object) -> str | None:
    return _check_range(0, end, 1)


def _check_start_end(start: object, end: object) -> str | None:
    return _check_range(start, end, 1)


def _range(
    net: Net, start: Operand, end: Operand, step: Scalar, dtype: torch.dtype | None
) -> Tensor:
    if dtype is None:
        floats = any(isinstance(n, float) for n in (start, end, step))
        dtype = torch.float32 if floats else torch.int64
    if not (isinstance(start, Tensor) or isinstance(end, Tensor)):
        return net.constant(torch.arange(start, end, step, dtype=dtype))
    first, last = (n if isinstance(n, Tensor) else int(n) for n in (start, end))
    stride = int(step)
    low, high = (first, last) if stride > 0 else (last, first)
    distance = net.size_op("sub", high, low)
    # Rounded up, and at least zero.
    above = net.size_op("add", distance, abs(stride) - 1)
    count = net.size_op("floordiv", net.size_op("max", above, 0), abs(stride))
    storage = torch.float32 if dtype in FLOATS else dtype
    made = net.linspace(count, net.tensor(first, storage), net.scalar(stride, storage))
    return net.cast(made, dtype)


@TABLE.converter("aten.arange.default", check=_check_end)
def arange(net: Net, end: Operand, dtype: torch.dtype | None) -> Tensor:
    return _range(net, 0, end, 1, dtype)


@TABLE.converter("aten.arange.start", check=_check_start_end)
def arange_start(net: Net, start: Operand, end: Operand, dtype: torch.dtype | None) -> Tensor:
    return _range(net, start, end, 1, dtype)


@TABLE.converter("aten.arange.start_step", check=_check_range)
def arange_start_step(
    net: Net, start: Operand, end: Operand, step: Scalar, dtype: torch.dtype | None
) -> Tensor:
    return _range(net, start, end, step, dtype)


def _check_linspace(start: object, end: object) -> str | None:
    if isinstance(start, Value) or isinstance(end, Value):
        return "expected a constant start and end, got computed ones"
    return None


@TABLE.converter("aten.linspace.default", check=_check_linspace)
def linspace(
    net: Net, start: Scalar, end: Scalar, steps: Size, dtype: torch.dtype | None
) -> Tensor:
    dtype = torch.float32 if dtype is None else dtype
    if isinstance(steps, int):
        return net.constant(torch.linspace(start, end, steps, dtype=dtype))
    # From the nearer end, as in torch.
    index = net.linspace(steps, net.scalar(0.0, torch.float32), net.scalar(1.0, torch.float32))
    count = net.cast(steps, torch.float32)
    step = net.div(float(end - start), net.sub(count, 1.0))
    left = net.add(net.mul(index, step), float(start))
    right = net.sub(float(end), net.mul(net.sub(net.sub(count, index), 1.0), step))
    first = less(net, net.add(index, index), net.sub(count, constant(net, 1, count)))
    return net.cast(net.select(first, left, right), dtype)


def _check_steps(steps: object, dtype: torch.dtype | None) -> str | None:
    if not isinstance(steps, int):
        return (
            "expected a constant number of steps from a computed start or end, got a computed one"
        )
    if dtype is not None and not dtype.is_floating_point:
        return f"expected floats from a computed start or end, got {dtype}, which torch counts in float64"
    return None


def _spaced(net: Net, start: Operand, end: Operand, steps: int) -> Tensor:
    """float32, computed from the nearer end, as in torch; start and end are 0-dimensional."""
    if not steps:
        return net.constant(torch.empty(0))
    first, last = (net.tensor(bound, torch.float32) for bound in (start, end))
    if steps == 1:
        return net.reshape(first, [1])
    index = torch.arange(steps, dtype=torch.float32)
    step = net.div(net.sub(last, first), float(steps - 1))
    left = net.add(first, net.mul(net.constant(index), step))
    right = net.sub(last, net.mul(net.constant(steps - 1 - index), step))
    return net.select(net.constant(index < steps // 2), left, right)


_BOUNDS = ("Tensor_Tensor", "Tensor_Scalar", "Scalar_Tensor")


@TABLE.converter(*(f"aten.linspace.{which}" for which in _BOUNDS), check=_check_steps)
def linspace_between(
    net: Net, start: Operand, end: Operand, steps: int, dtype: torch.dtype | None
) -> Tensor:
    return net.cast(_spaced(net, start, end, steps), dtype or torch.float32)


@TABLE.converter(*(f"aten.logspace.{which}" for which in _BOUNDS), check=_check_steps)
def logspace_between(
    net: Net, start: Operand, end: Operand, steps: int, base: float, dtype: torch.dtype | None
) -> Tensor:
    powers = _spaced(net, start, end, steps)
    made = net.elementwise(net.scalar(base, torch.float32), powers, "POW")
    return net.cast(made, dtype or torch.float32)
