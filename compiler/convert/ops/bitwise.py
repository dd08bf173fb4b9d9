"""Logic on the bits of integers, and shifts."""

from __future__ import annotations

import torch

from compiler.convert.idioms.bits import bitwise
from compiler.convert.idioms.numeric import constant, floor_quotient
from compiler.convert.net import Net
from compiler.convert.registry import INTEGERS, Support, Table
from compiler.network.network import Tensor

TABLE = Table("bitwise")

SUPPORT = Support(dtypes=INTEGERS | {"bool"})


for _name, _op in (("and", "AND"), ("or", "OR"), ("xor", "XOR")):
    for _overload in ("Tensor", "Scalar", "Scalar_Tensor"):
        TABLE.row(f"aten.bitwise_{_name}.{_overload}", bitwise(_op), SUPPORT)
    for _overload in ("Tensor", "Scalar"):
        TABLE.row(f"aten.__{_name}__.{_overload}", bitwise(_op), SUPPORT)


# -- shifts --------------------------------------------------------------------------------

_WHOLE = Support(dtypes=INTEGERS)


def _check_shift(other: object) -> str | None:
    if isinstance(other, int) and 0 <= other < 63:
        return None
    return f"expected a constant shift from 0 to 62, got {other}"


@TABLE.converter(
    "aten.bitwise_left_shift.Tensor_Scalar", "aten.__lshift__.Scalar",
    support=_WHOLE, check=_check_shift,
)  # fmt: skip
def left_shift(net: Net, self: Tensor, other: int) -> Tensor:
    if self.dtype == torch.int32 and other > 31:
        return net.mul(self, 0)
    factor = 1 << other
    if self.dtype == torch.int32 and other == 31:
        factor = -factor
    return net.mul(self, factor)


@TABLE.converter(
    "aten.bitwise_right_shift.Tensor_Scalar", "aten.__rshift__.Scalar",
    support=_WHOLE, check=_check_shift,
)  # fmt: skip
def right_shift(net: Net, self: Tensor, other: int) -> Tensor:
    """By division that rounds down, as an arithmetic shift does."""
    places = min(other, 31) if self.dtype == torch.int32 else other
    half, rest = divmod(places, 2)
    for part in (half, half + rest):  # 2**31 does not fit int32
        self = floor_quotient(net, self, constant(net, 1 << part, self))
    return self


def _powers_of_two(net: Net, places: Tensor) -> Tensor:
    """2 ** places. TensorRT computes integer powers in float32, which holds these exactly."""
    return net.elementwise(constant(net, 2, places), places, "POW")


@TABLE.converter(
    "aten.bitwise_left_shift.Tensor", "aten.__lshift__.Tensor", support=_WHOLE
)  # fmt: skip
def left_shift_tensor(net: Net, self: Tensor, other: Tensor) -> Tensor:
    """By 0 to 30 places in int32, 62 in int64."""
    x, places = net.promote(self, other)
    return net.mul(x, _powers_of_two(net, places))


@TABLE.converter(
    "aten.bitwise_right_shift.Tensor", "aten.__rshift__.Tensor", support=_WHOLE
)  # fmt: skip
def right_shift_tensor(net: Net, self: Tensor, other: Tensor) -> Tensor:
    """By 0 to 30 places in int32, 62 in int64."""
    x, places = net.promote(self, other)
    return floor_quotient(net, x, _powers_of_two(net, places))
