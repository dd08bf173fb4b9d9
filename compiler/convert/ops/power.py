"""Powers, elementwise."""

from __future__ import annotations

from compiler.convert.idioms.numeric import constant, is_float, widened
from compiler.convert.net import Net, Operand
from compiler.convert.registry import Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("power")


def _is_whole(value: object) -> bool:
    """Whether an argument of a check is an integer or a bool."""
    if isinstance(value, Value):
        return value.dtype in ("int32", "int64", "bool", "symint", "symbool")
    return isinstance(value, int)


def _check_power(self: object, exponent: object) -> str | None:
    if not (_is_whole(self) and _is_whole(exponent)) or isinstance(exponent, int):
        return None
    if isinstance(self, int) and self > 0 and self & (self - 1) == 0:
        return None  # float32 holds powers of 2 exactly
    return (
        "expected a constant exponent or a constant base that is a power of 2, got neither; "
        "TensorRT computes integer powers in float32"
    )


def _whole_power(net: Net, x: Tensor, exponent: int) -> Tensor:
    """x ** exponent by repeated squaring; it wraps around as torch's integers do."""
    result, square = None, x
    while exponent:
        if exponent & 1:
            result = square if result is None else net.mul(result, square)
        exponent >>= 1
        if exponent:
            square = net.mul(square, square)
    return net.select(net.equal(x, x), constant(net, 1, x), x) if result is None else result


@TABLE.converter("aten.pow.Tensor_Scalar", check=_check_power)
def pow_scalar(net: Net, self: Tensor, exponent: Operand) -> Tensor:
    x, power = net.promote(self, exponent)
    if not is_float(x) and isinstance(exponent, int):
        return _whole_power(net, x, exponent)
    if exponent == 2:
        return net.mul(x, x)
    if exponent == 0.5:
        return net.unary(x, "SQRT")
    if exponent == 3:
        return widened(net, lambda v: net.mul(net.mul(v, v), v), x)
    if exponent == -0.5:
        return widened(net, lambda v: net.unary(net.unary(v, "SQRT"), "RECIP"), x)
    return net.elementwise(x, power, "POW")


@TABLE.converter("aten.pow.Scalar", "aten.pow.Tensor_Tensor", check=_check_power)
def pow_(net: Net, self: Operand, exponent: Operand) -> Tensor:
    return net.binary(self, exponent, "POW")


@TABLE.converter("aten.ldexp.Tensor")
def ldexp(net: Net, self: Tensor, other: Tensor) -> Tensor:
    power = net.binary(2.0, other, "POW")
    return net.mul(self, power)
