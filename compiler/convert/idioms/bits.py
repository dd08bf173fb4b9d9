"""Logic on the bits of integers, which TensorRT has for bool only.

Division splits integers into bits in a new last dimension; it rounds down, which matches the two's
complement of negative numbers. The resulting bits are summed up again.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from compiler.convert.idioms.numeric import constant, floor_quotient, less
from compiler.convert.net import Net, Operand
from compiler.network.network import Tensor


def bitwise(op: str) -> Callable[..., Tensor]:
    """The converter of AND, OR or XOR of integers' bits, or of bools."""

    def convert(net: Net, self: Operand, other: Operand) -> Tensor:
        left, right = net.promote(self, other)
        if left.dtype == torch.bool:
            return logical(net, left, right, op)
        if op == "AND":
            for x, mask in ((left, right), (right, left)):
                if _is_low_bits(mask):
                    return _remainder(net, x, _number(mask) + 1)
        return _by_bits(net, left, right, op)

    return convert


def logical(net: Net, left: Tensor, right: Tensor, op: str) -> Tensor:
    """AND, OR or XOR of bools; no layer where a constant leaves the other as it is, as a mask of ones does."""
    for x, known in ((left, right), (right, left)):
        value = known.constant
        if value is None or known.from_weights or x.ndim < known.ndim:
            continue
        shape = [1] * (x.ndim - known.ndim) + [n or 0 for n in known.shape]
        spreads = all(n == 1 or have in (1, n) for n, have in zip(shape, x.shape, strict=True))
        if spreads and bool(value.all() if op == "AND" else not value.any()):
            return net.expand(x, [n if n != 1 else -1 for n in shape])
    return net.elementwise(left, right, op)


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
