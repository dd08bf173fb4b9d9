"""One-sided Jacobi: the columns of float32 matrices rotated until they are orthogonal.

Their lengths are then the singular values. A turn of the loop rotates every column against one other;
after a sweep of turns each pair has met.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compiler.convert.idioms.numeric import maximum
from compiler.convert.linalg.matrices import static, transposed, triangle
from compiler.convert.net import Net
from compiler.network.kinds import Layers
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

MOST = 64
"""Columns (or rows, if they are fewer)."""
SWEEPS = 10
"""Float32 has converged by then: each sweep after the first few squares what is left."""

FEWEST_ROWS = 8
"""Of smaller matrices TensorRT-RTX unrolls the loop, into engines of a hundred megabytes."""


def check_size(value: Value) -> str | None:
    sizes = value.shape[-2:]
    known = [n for n in sizes if isinstance(n, int)]
    if len(known) == 2 and min(known) <= MOST:
        return None
    return f"rotated column by column: expected static sizes, one of them up to {MOST}, got {sizes}"


def orthogonal(net: Net, a: Tensor, rows: int) -> Tensor:
    """a [*, r, n] with columns rotated until their first `rows` elements are orthogonal."""
    n = static(a)[1]
    if n < 2 or not rows:
        return a
    last, half = a.ndim - 1, (n + 1) // 2
    a = _grown(net, a, 0, n % 2)  # a column of zeros makes them pairs

    def turn(inner: Layers, state: Sequence[Tensor]) -> Sequence[Tensor]:
        assert isinstance(inner, Net)
        left, right = state
        return _next_pairs(inner, *_rotated(inner, left, right, rows))

    pairs = [net.narrow(a, last, at, half) for at in (0, half)]
    left, right = net.loop(SWEEPS * (2 * half - 1), pairs, turn)
    return net.narrow(net.concat([left, right], last), last, 0, n)


def _rotated(net: Net, left: Tensor, right: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Each column of left and right against each other, by the smaller angle."""
    upper, lower = (net.narrow(t, t.ndim - 2, 0, rows) for t in (left, right))
    sums = [dot(net, x, y) for x, y in ((upper, upper), (lower, lower), (upper, lower))]
    difference, twice = net.sub(sums[1], sums[0]), net.mul(sums[2], 2.0)
    size = net.unary(net.add(net.mul(difference, difference), net.mul(twice, twice)), "SQRT")
    size = net.add(net.add(net.unary(difference, "ABS"), size), 1e-37)
    minus = net.select(net.compare(difference, 0.0, "LESS"), net.unary(twice, "NEG"), twice)
    tangent = net.div(minus, size)
    secant = net.unary(net.add(net.mul(tangent, tangent), 1.0), "SQRT")
    cosine = net.unary(secant, "RECIP")
    sine = net.mul(cosine, tangent)
    return (
        net.sub(net.mul(left, cosine), net.mul(right, sine)),
        net.add(net.mul(left, sine), net.mul(right, cosine)),
    )


def dot(net: Net, a: Tensor, b: Tensor) -> Tensor:
    return net.reduce(net.mul(a, b), "SUM", [a.ndim - 2], True)


def _next_pairs(net: Net, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The first column stays, the others go round: in as many turns as columns less one, back."""
    half, axis = static(left)[1], left.ndim - 1
    if half == 1:
        return left, right
    first, stay = net.narrow(left, axis, 0, 1), net.narrow(left, axis, 1, half - 2)
    falling = net.narrow(left, axis, half - 1, 1)
    rising, rest = net.narrow(right, axis, 0, 1), net.narrow(right, axis, 1, half - 1)
    upper = [first, rising, *([stay] if half > 2 else [])]
    return net.concat(upper, axis), net.concat([rest, falling], axis)


def tall_of(net: Net, a: Tensor) -> Tensor:
    """a, or its transpose: with at least as many rows as columns, and rows of zeros up to eight."""
    m, n = static(a)
    tall = a if m >= n else transposed(net, a)
    return _grown(net, tall, FEWEST_ROWS - max(m, n), 0)


def _grown(net: Net, a: Tensor, rows: int, columns: int) -> Tensor:
    """a with as many more rows and columns of zeros."""
    if max(rows, columns) <= 0:
        return a
    m, n = static(a)
    sizes = [*net.sizes(a)[:-2], m + max(rows, 0), n + max(columns, 0)]
    return net.slice(a, [0] * a.ndim, sizes, [1] * a.ndim, "FILL", net.scalar(0.0, a.dtype))


def lengths_of(net: Net, a: Tensor) -> Tensor:
    """[*, n]: the columns' lengths."""
    return net.unary(net.reduce(net.mul(a, a), "SUM", [a.ndim - 2], False), "SQRT")


def ordered(net: Net, values: Tensor, largest: bool) -> Tensor:
    size = values.shape[-1] or 0
    if size < 2:
        return values
    rows = values if values.ndim > 1 else net.unsqueeze(values, [0])
    found = net.topk(rows, "MAX" if largest else "MIN", size, rows.ndim - 1)[0]
    return found if values.ndim > 1 else net.squeeze(found, [0])


def symmetric(net: Net, a: Tensor, lower: bool) -> Tensor:
    """The symmetric matrix that one triangle of a says."""
    other = triangle(net, transposed(net, a), not lower, 1 if lower else -1)
    return net.add(triangle(net, a, lower), other)


def cut_of(
    net: Net, largest: Tensor, size: int, atol: Tensor | float | None, rtol: Tensor | float | None
) -> Tensor:
    """[*, 1, 1]: the largest length that counts as 0, with torch's default."""
    default = net.scalar(torch.finfo(torch.float32).eps * size, torch.float32)
    zero = net.scalar(0.0, torch.float32)
    absolute = zero if atol is None else _plane(net, atol)
    if rtol is not None:
        relative = _plane(net, rtol)
    elif atol is not None:
        relative = net.select(net.compare(absolute, 0.0, "GREATER"), zero, default)
    else:
        relative = default
    return maximum(net, absolute, net.mul(largest, relative))


def _plane(net: Net, value: Tensor | float) -> Tensor:
    """A number, or one for each matrix, as float32 [*, 1, 1]."""
    tensor = net.tensor(value, torch.float32)
    return net.unsqueeze(tensor, [tensor.ndim, tensor.ndim + 1])
