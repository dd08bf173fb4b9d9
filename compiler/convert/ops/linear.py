"""Matrix products. Integers, which TensorRT does not multiply as matrices, become sums of products."""

from __future__ import annotations

import torch

from compiler.convert.idioms.axes import axis_of
from compiler.convert.net import Net, Scalar
from compiler.convert.registry import NUMBERS, Support, Table
from compiler.network.network import Size, Tensor
from compiler.network.recorder import FLOATS, broadcast

TABLE = Table("linear")
PRODUCTS = Support(dtypes=NUMBERS)


def product(net: Net, a: Tensor, b: Tensor, transpose_b: bool = False) -> Tensor:
    """[..., m, k] times [..., k, n] (or [..., n, k] with transpose_b); batch dims broadcast."""
    rank = max(a.ndim, b.ndim)
    a, b = raised(net, a, rank), raised(net, b, rank)
    if a.dtype in FLOATS:
        return net.matmul(a, b, False, transpose_b)
    left = net.unsqueeze(a, [rank - 1])
    right = net.unsqueeze(b, [rank - 2])
    if not transpose_b:
        right = net.transpose(right, [*range(rank - 1), rank, rank - 1])
    return net.reduce(net.mul(left, right), "SUM", [rank], False)


def raised(net: Net, x: Tensor, rank: int) -> Tensor:
    """x with leading dims of size one; a constant stays a constant, whatever its size."""
    if x.constant is not None and x.ndim < rank:
        return net.constant(x.constant.reshape((1,) * (rank - x.ndim) + tuple(x.constant.shape)))
    return net.unsqueeze(x, range(rank - x.ndim))


# -- linear and matmul ---------------------------------------------------------------------


@TABLE.converter("aten.linear.default", support=PRODUCTS)
def linear(net: Net, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """input [..., k] times weight [n, k] (or [k]) transposed, plus bias [n]."""
    if weight.ndim == 1:
        result = times(net, input, weight)
    elif input.ndim == 1:
        result = net.squeeze(product(net, net.unsqueeze(input, [0]), weight, True), [0])
    else:
        result = product(net, input, weight, True)
    return result if bias is None else net.add(result, bias)


@TABLE.converter("aten.matmul.default", "aten.linalg_matmul.default", support=PRODUCTS)
def matmul(net: Net, self: Tensor, other: Tensor) -> Tensor:
    """Any ranks from 1 up; vectors are rows on the left and columns on the right."""
    return times(net, self, other)


def times(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """torch.matmul."""
    row, column = a.ndim == 1, b.ndim == 1
    a = net.unsqueeze(a, [0]) if row else a
    b = net.unsqueeze(b, [0]) if column else b  # as [1, k], transposed by the product
    result = product(net, a, b, transpose_b=column)
    dropped = ([result.ndim - 2] if row else []) + ([result.ndim - 1] if column else [])
    return net.squeeze(result, dropped)


@TABLE.converter("aten.mm.default", "aten.bmm.default", support=PRODUCTS)
def mm(net: Net, self: Tensor, mat2: Tensor) -> Tensor:
    """Matrices, or batches of them."""
    return product(net, self, mat2)


@TABLE.converter("aten.mv.default", support=PRODUCTS)
def mv(net: Net, self: Tensor, vec: Tensor) -> Tensor:
    """A matrix and a vector."""
    return times(net, self, vec)


@TABLE.converter("aten.dot.default", support=PRODUCTS)
def dot(net: Net, self: Tensor, tensor: Tensor) -> Tensor:
    """Two vectors."""
    return times(net, self, tensor)


@TABLE.converter("aten.vdot.default", support=PRODUCTS)
def vdot(net: Net, self: Tensor, other: Tensor) -> Tensor:
    """Two real vectors."""
    return times(net, self, other)


@TABLE.converter("aten.inner.default", support=PRODUCTS)
def inner(net: Net, self: Tensor, other: Tensor) -> Tensor:
    """Sums over the last dims; other's leading dims follow self's."""
    if self.ndim == 0 or other.ndim == 0:
        return net.mul(self, other)
    if self.ndim == 1 or other.ndim == 1:
        return times(net, self, other) if other.ndim == 1 else times(net, other, self)
    sizes = [*net.sizes(self)[:-1], *net.sizes(other)[:-1]]
    flat = [
        net.reshape(t, [net.product(net.sizes(t)[:-1]), net.size(t, t.ndim - 1)])
        for t in (self, other)
    ]
    return net.reshape(product(net, flat[0], flat[1], transpose_b=True), sizes)


@TABLE.converter("aten.linalg_vecdot.default", support=PRODUCTS)
def vecdot(net: Net, x: Tensor, y: Tensor, dim: int) -> Tensor:
    """Sums of products along dim; the others broadcast."""
    both = net.mul(x, y)
    return net.reduce(both, "SUM", [axis_of(dim, both.ndim)], False)


@TABLE.converter("aten.outer.default", "aten.ger.default")
def outer(net: Net, self: Tensor, vec2: Tensor) -> Tensor:
    """Every element of self times every element of vec2; bools are and-ed."""
    column, row = net.unsqueeze(self, [1]), net.unsqueeze(vec2, [0])
    left, right = net.promote(column, row)
    return net.elementwise(left, right, "AND" if left.dtype == torch.bool else "PROD")


# -- beta * self + alpha * product ---------------------------------------------------------


def _sum(net: Net, self: Tensor, made: Tensor, beta: Scalar, alpha: Scalar) -> Tensor:
    """beta * self + alpha * made; with beta 0, self (even NaN) does not count."""
    if alpha != 1:
        made = net.mul(made, net.scalar(alpha, made.dtype))
    if beta == 0:
        shape = broadcast(*(t.shape for t in net.same_rank(self, made)))
        return made if shape == made.shape else net.expand(made, net.sizes(self))
    if beta != 1:
        self = net.mul(self, net.scalar(beta, self.dtype))
    return net.add(self, made)


@TABLE.converter("aten.addmm.default", support=PRODUCTS)
def addmm(
    net: Net, self: Tensor, mat1: Tensor, mat2: Tensor, beta: Scalar, alpha: Scalar
) -> Tensor:
    """beta * self + alpha * mat1 @ mat2."""
    return _sum(net, self, product(net, mat1, mat2), beta, alpha)


@TABLE.converter("aten.baddbmm.default", support=PRODUCTS)
def baddbmm(
    net: Net, self: Tensor, batch1: Tensor, batch2: Tensor, beta: Scalar, alpha: Scalar
) -> Tensor:
    """beta * self + alpha * batch1 @ batch2."""
    return _sum(net, self, product(net, batch1, batch2), beta, alpha)


@TABLE.converter("aten.addbmm.default", support=PRODUCTS)
def addbmm(
    net: Net, self: Tensor, batch1: Tensor, batch2: Tensor, beta: Scalar, alpha: Scalar
) -> Tensor:
    """As `baddbmm`, summed over the batch: one product over batch and inner dim, rounded once."""
    count, rows, inner = net.sizes(batch1)
    depth = net.size_op("mul", count, inner)
    left = net.reshape(net.transpose(batch1, [1, 0, 2]), [rows, depth])
    right = net.reshape(batch2, [depth, net.size(batch2, 2)])
    return _sum(net, self, product(net, left, right), beta, alpha)


@TABLE.converter("aten.addmv.default", support=PRODUCTS)
def addmv(net: Net, self: Tensor, mat: Tensor, vec: Tensor, beta: Scalar, alpha: Scalar) -> Tensor:
    """beta * self + alpha * mat @ vec."""
    return _sum(net, self, times(net, mat, vec), beta, alpha)


@TABLE.converter("aten.addr.default", support=PRODUCTS)
def addr(net: Net, self: Tensor, vec1: Tensor, vec2: Tensor, beta: Scalar, alpha: Scalar) -> Tensor:
    """beta * self + alpha * outer(vec1, vec2)."""
    return _sum(net, self, outer(net, vec1, vec2), beta, alpha)


# -- several operands ----------------------------------------------------------------------


@TABLE.converter("aten.bilinear.default", support=PRODUCTS)
def bilinear(
    net: Net, input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """input1 [..., i], weight [o, i, j], input2 [..., j] to [..., o]."""
    sizes: list[Size] = [*net.sizes(input1)[:-1], weight.shape[0] or net.size(weight, 0)]
    count = net.product(sizes[:-1])
    left = net.reshape(input1, [count, net.size(weight, 1)])
    right = net.reshape(input2, [count, net.size(weight, 2)])
    half = product(net, net.unsqueeze(left, [0]), weight)  # [o, count, j]
    both = net.reduce(net.mul(half, net.unsqueeze(right, [0])), "SUM", [2], False)
    result = net.reshape(net.transpose(both, [1, 0]), sizes)
    return result if bias is None else net.add(result, bias)
