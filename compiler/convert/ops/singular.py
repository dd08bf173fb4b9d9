"""Singular values, pseudo-inverses and eigenvalues of float32 matrices, by one-sided Jacobi.

Rotations make the columns of a matrix orthogonal: their lengths are then the singular values. A turn of
the loop rotates every column against one other; after a sweep of turns each pair has met. Singular
vectors stay in torch: their signs are the library's choice, and no two libraries agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compiler.convert.layers import Layers
from compiler.convert.matrices import identity, static, transposed, triangle
from compiler.convert.net import Net
from compiler.convert.network import Tensor
from compiler.convert.numeric import maximum
from compiler.convert.registry import Support, Table
from enginebundle.graph import Value

TABLE = Table("singular")

MOST = 64
"""Columns (or rows, if they are fewer)."""
SWEEPS = 10
"""Float32 has converged by then: each sweep after the first few squares what is left."""

FEWEST_ROWS = 8
"""Of smaller matrices TensorRT-RTX unrolls the loop, into engines of a hundred megabytes."""

_FLOAT32 = Support(dtypes=frozenset({"float32"}))


def _check_size(value: Value) -> str | None:
    sizes = value.shape[-2:]
    known = [n for n in sizes if isinstance(n, int)]
    if len(known) == 2 and min(known) <= MOST:
        return None
    return f"rotated column by column: expected static sizes, one of them up to {MOST}, got {sizes}"


# -- the rotations -------------------------------------------------------------------------


def _orthogonal(net: Net, a: Tensor, rows: int) -> Tensor:
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
    sums = [_dot(net, x, y) for x, y in ((upper, upper), (lower, lower), (upper, lower))]
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


def _dot(net: Net, a: Tensor, b: Tensor) -> Tensor:
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


def _tall(net: Net, a: Tensor) -> Tensor:
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


def _lengths(net: Net, a: Tensor) -> Tensor:
    """[*, n]: the columns' lengths."""
    return net.unary(net.reduce(net.mul(a, a), "SUM", [a.ndim - 2], False), "SQRT")


def _ordered(net: Net, values: Tensor, largest: bool) -> Tensor:
    size = values.shape[-1] or 0
    if size < 2:
        return values
    rows = values if values.ndim > 1 else net.unsqueeze(values, [0])
    found = net.topk(rows, "MAX" if largest else "MIN", size, rows.ndim - 1)[0]
    return found if values.ndim > 1 else net.squeeze(found, [0])


def _symmetric(net: Net, a: Tensor, lower: bool) -> Tensor:
    """The symmetric matrix that one triangle of a says."""
    other = triangle(net, transposed(net, a), not lower, 1 if lower else -1)
    return net.add(triangle(net, a, lower), other)


# -- operators -----------------------------------------------------------------------------


def _svd_check(A: Value, compute_uv: bool) -> str | None:
    if compute_uv:
        return "singular vectors have no sign of their own: expected compute_uv=False"
    return _check_size(A)


@TABLE.converter("aten._linalg_svd.default", support=_FLOAT32, check=_svd_check)
def linalg_svd(
    net: Net, A: Tensor, full_matrices: bool, compute_uv: bool, driver: str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Empty tensors for U and V, and the singular values between, the largest first."""
    tall, none = _tall(net, A), net.constant(torch.empty(0))
    lengths = _lengths(net, _orthogonal(net, tall, static(tall)[0]))
    return none, _ordered(net, lengths, True), none


def _eigh_check(A: Value, compute_v: bool) -> str | None:
    if compute_v:
        return "eigenvectors have no sign of their own: expected compute_v=False"
    return _check_size(A)


@TABLE.converter("aten._linalg_eigh.default", support=_FLOAT32, check=_eigh_check)
def linalg_eigh(net: Net, A: Tensor, UPLO: str, compute_v: bool) -> tuple[Tensor, Tensor]:
    """Eigenvalues of a symmetric matrix, the smallest first, and an empty tensor.

    Moved up by its length the matrix has no negative ones: they are its singular values then.
    """
    n, none = static(A)[0], net.constant(torch.empty(0))
    whole = _symmetric(net, A, UPLO.upper() == "L")
    if n == 0:
        return _lengths(net, whole), none
    square = net.reduce(net.mul(whole, whole), "SUM", [A.ndim - 2, A.ndim - 1], True)
    length = net.unary(square, "SQRT")
    moved = net.add(whole, net.mul(net.constant(torch.eye(n)), length))
    tall = _tall(net, moved)
    lengths = _lengths(net, _orthogonal(net, tall, static(tall)[0]))
    return _ordered(net, net.sub(lengths, net.squeeze(length, [A.ndim - 1])), False), none


def _pinv_check(self: Value) -> str | None:
    return _check_size(self)


def _pinv(
    net: Net, x: Tensor, atol: Tensor | float | None, rtol: Tensor | float | None, hermitian: bool
) -> Tensor:
    """The pseudo-inverse: singular values up to max(atol, rtol * the largest) count as 0.

    With the rotations V and the orthogonal columns x V, it is V (x V / lengths^2)^T. A hermitian x is
    read below its diagonal only.
    """
    if hermitian:
        x = _symmetric(net, x, True)
    tall = _tall(net, x)
    (m, n), axis = static(tall), x.ndim - 2
    if not n:
        return transposed(net, x)
    both = _orthogonal(net, net.concat([tall, identity(net, tall, n, n)], axis), m)
    columns, v = net.narrow(both, axis, 0, m), net.narrow(both, axis, m, n)
    square = _dot(net, columns, columns)
    length = net.unary(square, "SQRT")
    largest = net.reduce(length, "MAX", [x.ndim - 1], True)
    kept = net.compare(length, _cut(net, largest, max(static(x)), atol, rtol), "GREATER")
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
    """The older name of rtol."""
    return _pinv(net, self, 0.0, rcond, hermitian)


@TABLE.converter("aten.pinverse.default", support=_FLOAT32, check=_pinv_check)
def pinverse(net: Net, self: Tensor, rcond: float) -> Tensor:
    """The older name of the operator too."""
    return _pinv(net, self, 0.0, rcond, False)


def _cut(
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
