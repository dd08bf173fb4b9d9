"""Logic on the bits of integers, which TensorRT has for bool only, and shifts.

Division splits integers into bits in a new last dimension; it rounds down, which matches the two's
complement of negative numbers. The resulting bits are summed up again.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from compiler.convert.idioms.numeric import constant, floor_quotient, less
from compiler.convert.net import Net, Operand
from compiler.convert.registry import INTEGERS, Support, Table
from compiler.network.network import Tensor

TABLE = Table("bitwise")

SUPPORT = Support(dtypes=INTEGERS | {"bool"})


def _bitwise(op: str) -> Callable[..., Tensor]:
    def convert(net: Net, self: Operand, other: Operand) -> Tensor:
        left, right = net.promote(self, other)
        if left.dtype == torch.bool:
            return net.elementwise(left, right, op)
        if op == "AND":
            for x, mask in ((left, right), (right, left)):
                if _is_low_bits(mask):
                    return _remainder(net, x, _number(mask) + 1)
        return _by_bits(net, left, right, op)

    return convert


def _number(x: Tensor) -> int:
    return -1 if x.constant is None or x.ndim else int(x.constant.item())


def _is_low_bits(mask: Tensor) -> bool:
    """Whether the mask is 2**k - 1, so that AND with it is a remainder."""
    number = _number(mask)
    return 0 <= number < 1 << 30 and number & (number + 1) == 0


def _remainder(net: Net, x: Tensor, divisor: int) -> Tensor:
    """x modulo a power of two, never negative."""
    by = constant(net, divisor, x)
    return net.sub(x, net.mul(floor_quotient(net, x, by), by))


def _by_bits(net: Net, a: Tensor, b: Tensor, op: str) -> Tensor:
    """The bits below the sign in a dimension of 31 or 63, and the sign separately."""
    limits = torch.iinfo(a.dtype)
    powers = net.constant(torch.tensor([1 << i for i in range(limits.bits - 1)], dtype=a.dtype))
    zero = constant(net, 0, a)
    signs = net.elementwise(less(net, a, zero), less(net, b, zero), op)
    bits = net.elementwise(_bits(net, a, powers), _bits(net, b, powers), op)
    parts = net.mul(net.cast(bits, a.dtype), powers)
    low = net.reduce(parts, "SUM", [parts.ndim - 1], False)
    return net.select(signs, net.add(low, constant(net, limits.min, a)), low)


def _bits(net: Net, x: Tensor, powers: Tensor) -> Tensor:
    """bool [..., bits], the lowest first."""
    shifted = floor_quotient(net, net.unsqueeze(x, [x.ndim]), powers)
    return net.bool_of(_remainder(net, shifted, 2))


for _name, _op in (("and", "AND"), ("or", "OR"), ("xor", "XOR")):
    for _overload in ("Tensor", "Scalar", "Scalar_Tensor"):
        TABLE.row(f"aten.bitwise_{_name}.{_overload}", _bitwise(_op), SUPPORT)
    for _overload in ("Tensor", "Scalar"):
        TABLE.row(f"aten.__{_name}__.{_overload}", _bitwise(_op), SUPPORT)


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
