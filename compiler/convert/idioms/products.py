"""Matrix products. TensorRT has none for integers, so these become sums of elementwise products."""

from __future__ import annotations

from compiler.convert.net import Net
from compiler.network.network import Tensor
from compiler.network.recorder import FLOATS


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
    """x with leading dims of size one added up to `rank`; a constant of any size stays a constant."""
    if x.constant is not None and x.ndim < rank:
        shape = (1,) * (rank - x.ndim) + tuple(x.constant.shape)
        return net.constant(x.constant.reshape(shape), x.from_weights)
    return net.unsqueeze(x, range(rank - x.ndim))
