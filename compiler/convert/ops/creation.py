"""Tensors made from numbers: ranges, constants, triangles. Static ones become constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from compiler.convert.idioms.numeric import constant, less
from compiler.convert.net import Net, Operand, Scalar
from compiler.convert.registry import ANY, Support, Table
from compiler.network.network import Size, Tensor
from compiler.network.recorder import FLOATS
from enginebundle.format.graph import Value

TABLE = Table("creation")

Number = Scalar | Tensor


# -- ranges --------------------------------------------------------------------------------


def _known(*numbers: Number) -> bool:
    return not any(isinstance(n, Tensor) for n in numbers)


def _is_size(number: object) -> bool:
    """A whole number: an int, a size, or a float that is one."""
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
        return f"expected whole numbers beside a computed bound, got {numbers}"
    return None


def _check_end(end: object) -> str | None:
    return _check_range(0, end, 1)


def _check_start_end(start: object, end: object) -> str | None:
    return _check_range(start, end, 1)


def _range(net: Net, start: Number, end: Number, step: Scalar, dtype: torch.dtype | None) -> Tensor:
    if dtype is None:
        floats = any(isinstance(n, float) for n in (start, end, step))
        dtype = torch.float32 if floats else torch.int64
    if not (isinstance(start, Tensor) or isinstance(end, Tensor)):
        return net.constant(torch.arange(start, end, step, dtype=dtype))
    first, last = (n if isinstance(n, Tensor) else int(n) for n in (start, end))
    stride = int(step)
    low, high = (first, last) if stride > 0 else (last, first)
    distance = net.size_op("sub", high, low)
    # Rounded up, and no less than zero.
    above = net.size_op("add", distance, abs(stride) - 1)
    count = net.size_op("floordiv", net.size_op("max", above, 0), abs(stride))
    storage = torch.float32 if dtype in FLOATS else dtype
    made = net.linspace(count, net.tensor(first, storage), net.scalar(stride, storage))
    return net.cast(made, dtype)


@TABLE.converter("aten.arange.default", check=_check_end)
def arange(net: Net, end: Number, dtype: torch.dtype | None) -> Tensor:
    return _range(net, 0, end, 1, dtype)


@TABLE.converter("aten.arange.start", check=_check_start_end)
def arange_start(net: Net, start: Number, end: Number, dtype: torch.dtype | None) -> Tensor:
    return _range(net, start, end, 1, dtype)


@TABLE.converter("aten.arange.start_step", check=_check_range)
def arange_start_step(
    net: Net, start: Number, end: Number, step: Scalar, dtype: torch.dtype | None
) -> Tensor:
    return _range(net, start, end, step, dtype)


def _check_linspace(start: object, end: object) -> str | None:
    if isinstance(start, Value) or isinstance(end, Value):
        return "expected constant bounds, got computed ones"
    return None


@TABLE.converter("aten.linspace.default", check=_check_linspace)
def linspace(
    net: Net, start: Scalar, end: Scalar, steps: Size, dtype: torch.dtype | None
) -> Tensor:
    dtype = torch.float32 if dtype is None else dtype
    if isinstance(steps, int):
        return net.constant(torch.linspace(start, end, steps, dtype=dtype))
    # From the nearer end, as torch does it.
    index = net.linspace(steps, net.scalar(0.0, torch.float32), net.scalar(1.0, torch.float32))
    count = net.cast(steps, torch.float32)
    step = net.div(float(end - start), net.sub(count, 1.0))
    left = net.add(net.mul(index, step), float(start))
    right = net.sub(float(end), net.mul(net.sub(net.sub(count, index), 1.0), step))
    first = less(net, net.add(index, index), net.sub(count, constant(net, 1, count)))
    return net.cast(net.select(first, left, right), dtype)


Bound = Tensor | Scalar


def _check_steps(steps: object, dtype: torch.dtype | None) -> str | None:
    if not isinstance(steps, int):
        return "expected a constant number of steps between computed bounds, got a computed one"
    if dtype is not None and not dtype.is_floating_point:
        return f"expected floats between computed bounds, got {dtype}: torch counts in float64"
    return None


def _spaced(net: Net, start: Bound, end: Bound, steps: int) -> Tensor:
    """float32, from the nearer end, as torch does it; bounds are 0-dimensional."""
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
    net: Net, start: Bound, end: Bound, steps: int, dtype: torch.dtype | None
) -> Tensor:
    return net.cast(_spaced(net, start, end, steps), dtype or torch.float32)


@TABLE.converter(*(f"aten.logspace.{which}" for which in _BOUNDS), check=_check_steps)
def logspace_between(
    net: Net, start: Bound, end: Bound, steps: int, base: float, dtype: torch.dtype | None
) -> Tensor:
    powers = _spaced(net, start, end, steps)
    made = net.elementwise(net.scalar(base, torch.float32), powers, "POW")
    return net.cast(made, dtype or torch.float32)


# -- constants -----------------------------------------------------------------------------


def _fill_dtype(value: Operand) -> torch.dtype:
    if isinstance(value, Tensor):
        return value.dtype
    if isinstance(value, bool):
        return torch.bool
    return torch.int64 if isinstance(value, int) else torch.float32


@TABLE.converter("aten.full.default")
def full(net: Net, size: Sequence[Size], fill_value: Operand, dtype: torch.dtype | None) -> Tensor:
    return net.full(size, fill_value, _fill_dtype(fill_value) if dtype is None else dtype)


@TABLE.converter("aten.full_like.default")
def full_like(net: Net, self: Tensor, fill_value: Operand, dtype: torch.dtype | None) -> Tensor:
    return net.full(net.sizes(self), fill_value, self.dtype if dtype is None else dtype)


@TABLE.converter("aten.new_full.default")
def new_full(
    net: Net, self: Tensor, size: Sequence[Size], fill_value: Operand, dtype: torch.dtype | None
) -> Tensor:
    return net.full(size, fill_value, self.dtype if dtype is None else dtype)


@TABLE.converter("aten.fill.Scalar", "aten.fill.Tensor")
def fill(net: Net, self: Tensor, value: Operand) -> Tensor:
    return net.full(net.sizes(self), value, self.dtype)


@TABLE.converter("aten.scalar_tensor.default")
def scalar_tensor(net: Net, s: Operand, dtype: torch.dtype | None) -> Tensor:
    return net.tensor(s, torch.float32 if dtype is None else dtype)


def _filled(value: int) -> Callable[..., Tensor]:
    def convert(net: Net, size: Sequence[Size], dtype: torch.dtype | None) -> Tensor:
        return net.full(size, value, torch.float32 if dtype is None else dtype)

    return convert


def _filled_like(value: int) -> Callable[..., Tensor]:
    def convert(net: Net, self: Tensor, dtype: torch.dtype | None) -> Tensor:
        return net.full(net.sizes(self), value, self.dtype if dtype is None else dtype)

    return convert


def _filled_new(value: int) -> Callable[..., Tensor]:
    def convert(net: Net, self: Tensor, size: Sequence[Size], dtype: torch.dtype | None) -> Tensor:
        return net.full(size, value, self.dtype if dtype is None else dtype)

    return convert


# What `empty` leaves open is zero here.
for _name, _value in (("zeros", 0), ("ones", 1), ("empty", 0)):
    _overload = "memory_format" if _name == "empty" else "default"
    TABLE.row(f"aten.{_name}.{_overload}", _filled(_value))
    TABLE.row(f"aten.{_name}_like.default", _filled_like(_value))
    TABLE.row(f"aten.new_{_name}.default", _filled_new(_value))


@TABLE.converter("aten.empty_strided.default")
def empty_strided(
    net: Net, size: Sequence[Size], stride: Sequence[Size], dtype: torch.dtype | None
) -> Tensor:
    return net.full(size, 0, torch.float32 if dtype is None else dtype)


@TABLE.converter("aten.new_empty_strided.default")
def new_empty_strided(
    net: Net, self: Tensor, size: Sequence[Size], stride: Sequence[Size], dtype: torch.dtype | None
) -> Tensor:
    return net.full(size, 0, self.dtype if dtype is None else dtype)


@TABLE.converter("aten.empty_permuted.default")
def empty_permuted(
    net: Net, size: Sequence[Size], physical_layout: Sequence[int], dtype: torch.dtype | None
) -> Tensor:
    return net.full(size, 0, torch.float32 if dtype is None else dtype)


# -- triangles -----------------------------------------------------------------------------


def _below(net: Net, rows: Size, columns: Size, diagonal: Size) -> Tensor:
    """bool [rows, columns]: column <= row + diagonal."""
    row = net.unsqueeze(net.arange(rows), [1])
    column = net.unsqueeze(net.arange(columns), [0])
    edge = net.tensor(net.size_op("add", diagonal, 1), torch.int64)
    return less(net, column, net.add(row, edge))


@TABLE.converter("aten.tril.default")
def tril(net: Net, self: Tensor, diagonal: Size) -> Tensor:
    keep = _below(net, net.size(self, -2), net.size(self, -1), diagonal)
    return net.select(keep, self, constant(net, 0, self))


@TABLE.converter("aten.triu.default")
def triu(net: Net, self: Tensor, diagonal: Size) -> Tensor:
    drop = _below(net, net.size(self, -2), net.size(self, -1), net.size_op("sub", diagonal, 1))
    return net.select(drop, constant(net, 0, self), self)


def _eye(net: Net, rows: Size, columns: Size, dtype: torch.dtype | None) -> Tensor:
    dtype = torch.float32 if dtype is None else dtype
    equal = net.equal(net.unsqueeze(net.arange(rows), [1]), net.unsqueeze(net.arange(columns), [0]))
    return net.cast(equal, dtype)


@TABLE.converter("aten.eye.default")
def eye(net: Net, n: Size, dtype: torch.dtype | None) -> Tensor:
    return _eye(net, n, n, dtype)


@TABLE.converter("aten.eye.m")
def eye_m(net: Net, n: Size, m: Size, dtype: torch.dtype | None) -> Tensor:
    return _eye(net, n, m, dtype)


def _check_indices(row: object, col: object, offset: object) -> str | None:
    if all(isinstance(n, int) for n in (row, col, offset)):
        return None
    return "the number of indices depends on the sizes: expected constant ones"


def _triangle(function: Callable[..., torch.Tensor]) -> Callable[..., Tensor]:
    def convert(net: Net, row: int, col: int, offset: int, dtype: torch.dtype | int) -> Tensor:
        # The schema's own default is a number that stands for int64.
        known = dtype if isinstance(dtype, torch.dtype) else torch.int64
        return net.constant(function(row, col, offset=offset, dtype=known))

    return convert


for _name, _function in (("tril", torch.tril_indices), ("triu", torch.triu_indices)):
    TABLE.row(f"aten.{_name}_indices.default", _triangle(_function), Support(ANY), _check_indices)
