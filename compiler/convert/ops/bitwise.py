"""Logic on the bits of integers; TensorRT has it on bool only.

Integers are taken apart into a last dimension of bits by dividing, which rounds down and so fits
the two's complement of negative ones, and summed up again.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from compiler.convert.idioms.numeric import constant, less
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
    """Whether the mask is the number 2**k - 1: its AND is a remainder."""
    number = _number(mask)
    return 0 <= number < 1 << 30 and number & (number + 1) == 0


def _remainder(net: Net, x: Tensor, divisor: int) -> Tensor:
    """x modulo a power of two, never negative."""
    by = constant(net, divisor, x)
    return net.sub(x, net.mul(net.elementwise(x, by, "FLOOR_DIV"), by))


def _by_bits(net: Net, a: Tensor, b: Tensor, op: str) -> Tensor:
    """The bits below the sign as a dimension of 31 or 63, and the sign by itself."""
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
    shifted = net.elementwise(net.unsqueeze(x, [x.ndim]), powers, "FLOOR_DIV")
    return net.bool_of(_remainder(net, shifted, 2))


for _name, _op in (("and", "AND"), ("or", "OR"), ("xor", "XOR")):
    for _overload in ("Tensor", "Scalar", "Scalar_Tensor"):
        TABLE.row(f"aten.bitwise_{_name}.{_overload}", _bitwise(_op), SUPPORT)
    for _overload in ("Tensor", "Scalar"):
        TABLE.row(f"aten.__{_name}__.{_overload}", _bitwise(_op), SUPPORT)
