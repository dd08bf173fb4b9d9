"""Pseudo-inverses of float32 matrices; compiler/convert/linalg/jacobi.py has the method and its limits."""

from __future__ import annotations

from compiler.convert.linalg.jacobi import check_size, cut_of, dot, orthogonal, symmetric, tall_of
from compiler.convert.linalg.matrices import identity, static, transposed
from compiler.convert.net import Net
from compiler.convert.registry import Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("pinv")

_FLOAT32 = Support(dtypes=frozenset({"float32"}))


def _pinv_check(self: Value) -> str | None:
    return check_size(self)


def _pinv(
    net: Net, x: Tensor, atol: Tensor | float | None, rtol: Tensor | float | None, hermitian: bool
) -> Tensor:
    """The pseudo-inverse: singular values up to max(atol, rtol * the largest) count as 0.

    With the rotations V and the orthogonal columns x V, it is V (x V / lengths^2)^T. Of a hermitian x,
    only the lower triangle is read.
    """
    if hermitian:
        x = symmetric(net, x, True)
    tall = tall_of(net, x)
    (m, n), axis = static(tall), x.ndim - 2
    if not n:
        return transposed(net, x)
    both = orthogonal(net, net.concat([tall, identity(net, tall, n, n)], axis), m)
    columns, v = net.narrow(both, axis, 0, m), net.narrow(both, axis, m, n)
    square = dot(net, columns, columns)
    length = net.unary(square, "SQRT")
    largest = net.reduce(length, "MAX", [x.ndim - 1], True)
    kept = net.compare(length, cut_of(net, largest, max(static(x)), atol, rtol), "GREATER")
    scale = net.select(kept, net.div(1.0, square), net.scalar(0.0, x.dtype))
    scaled = transposed(net, net.mul(columns, scale))  # [*, n, m]
    terms = net.mul(net.unsqueeze(v, [v.ndim]), net.unsqueeze(scaled, [v.ndim - 2]))
    inverse = net.reduce(terms, "SUM", [v.ndim - 1], False)
    inverse = net.narrow(inverse, axis + 1, 0, max(static(x)))
    return inverse if static(x)[1] == n else transposed(net, inverse)


@TABLE.converter("aten.linalg_pinv.atol_rtol_tensor", support=_FLOAT32, check=_pinv_check)
def linalg_pinv(
    net: Net, self: Tensor, atol: Tensor | None, rtol: Tensor | None, hermitian: bool
) -> Tensor:
    return _pinv(net, self, atol, rtol, hermitian)


@TABLE.converter("aten.linalg_pinv.atol_rtol_float", support=_FLOAT32, check=_pinv_check)
def linalg_pinv_by_numbers(
    net: Net, self: Tensor, atol: float | None, rtol: float | None, hermitian: bool
) -> Tensor:
    return _pinv(net, self, atol, rtol, hermitian)


@TABLE.converter(
    "aten.linalg_pinv.default", "aten.linalg_pinv.rcond_tensor", support=_FLOAT32, check=_pinv_check
)  # fmt: skip
def linalg_pinv_rcond(net: Net, self: Tensor, rcond: Tensor | float, hermitian: bool) -> Tensor:
    """`linalg_pinv` with rtol under its older name."""
    return _pinv(net, self, 0.0, rcond, hermitian)


@TABLE.converter("aten.pinverse.default", support=_FLOAT32, check=_pinv_check)
def pinverse(net: Net, self: Tensor, rcond: float) -> Tensor:
    """`linalg_pinv` under its older name."""
    return _pinv(net, self, 0.0, rcond, False)
