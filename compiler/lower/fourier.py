"""Discrete Fourier transforms as products with tables of cosines and sines.

A transform of n points costs n * n products per row, which an engine does on matrix units: acceptable
up to LIMIT points. Tables of static size are constants; others are computed in the graph.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import torch

from compiler.lower.complex.values import Complex, Part, Values

aten = torch.ops.aten
LIMIT = 2048
"""The most points of a transform along one dimension; its two tables then take 32 MiB."""
NONE, BY_ROOT, BY_N = 0, 1, 2
"""torch's normalizations: what each dimension's result is divided by."""


def c2c(v: Values, node: torch.fx.Node) -> Complex | None:
    """aten._fft_c2c(self, dim, normalization, forward)."""
    source, dims, normalization, forward = node.args
    axes = _axes(source, dims)
    if not all(_fits(source.meta["val"].shape[axis]) for axis in axes):  # type: ignore[union-attr]
        return None
    return _over(v, v.of(source), axes, normalization, -1 if forward else 1)


def r2c(v: Values, node: torch.fx.Node) -> Complex | None:
    """aten._fft_r2c(self, dim, normalization, onesided): forward, the last of `dim` first."""
    source, dims, normalization, onesided = node.args
    assert isinstance(source, torch.fx.Node)
    axes = _axes(source, dims)
    if not all(_fits(source.meta["val"].shape[axis]) for axis in axes):
        return None
    *others, last = axes
    n = _size(v, source, last)
    kept = _plus(v, _half(v, n), 1) if onesided else n
    tables = _tables(v, n, kept, n, normalization, -1, source)
    made = Complex(*(_along(v, source, last, table) for table in tables))
    return _over(v, made, others, normalization, -1)


def c2r(v: Values, node: torch.fx.Node) -> torch.fx.Node | None:
    """aten._fft_c2r(self, dim, normalization, last_dim_size): backward, the last of `dim` last.

    The last dimension holds the first half of the spectrum: each point but the ends counts twice.
    """
    source, dims, normalization, n = node.args
    assert isinstance(source, torch.fx.Node)
    *others, last = _axes(source, dims)
    shape = source.meta["val"].shape
    points = n.meta["val"] if isinstance(n, torch.fx.Node) else n
    if not all(map(_fits, (points, *(shape[axis] for axis in others)))):
        return None
    value = _over(v, v.of(source), others, normalization, 1)
    kept = _size(v, value.real, last)
    cosines, sines = _tables(v, kept, n, n, normalization, 1, value.real)
    twice = _weights(v, kept, n, value.real)
    value = value.map(lambda part: v.mul(part, _column(v, twice, part, last)))
    real = _along(v, value.real, last, cosines)
    imag = None if value.imag is None else _along(v, value.imag, last, sines)
    made: torch.fx.Node = v.sub(real, imag) if imag is not None else real
    return made


def _axes(source: Any, dims: Any) -> list[int]:
    rank = source.meta["val"].dim()
    return [dim % rank for dim in dims]


def _fits(size: Any) -> bool:
    """Whether a size is at most LIMIT for all values of its symbols within their ranges."""
    if isinstance(size, torch.SymInt):
        return bool(size.node.shape_env.bound_sympy(size.node.expr).upper <= LIMIT)
    return bool(size <= LIMIT)


def _over(v: Values, value: Complex, axes: list[int], normalization: Any, sign: int) -> Complex:
    """Complex transforms along each axis in turn."""
    for axis in axes:
        n = _size(v, value.real, axis)
        table = Complex(*_tables(v, n, n, n, normalization, sign, value.real))
        value = v.product(value, table, lambda x, y, axis=axis: _along(v, x, axis, y))  # type: ignore[misc]
    return value


def _along(v: Values, x: Part, axis: int, table: torch.fx.Node) -> Part:
    """The product of x along an axis with a table [size, new size]."""
    last = x.meta["val"].dim() - 1
    if axis == last:
        return v.call(aten.matmul.default, x, table)
    turned = v.call(aten.transpose.int, x, axis, last)
    made = v.call(aten.matmul.default, turned, table)
    return v.call(aten.transpose.int, made, axis, last)


# -- tables --------------------------------------------------------------------------------


def _tables(
    v: Values, rows: Any, columns: Any, n: Any, normalization: Any, sign: int, like: torch.fx.Node
) -> tuple[torch.fx.Node, torch.fx.Node]:
    """cos and sign * sin of 2 pi r c / n for r < rows and c < columns, normalized as asked."""
    dtype = like.meta["val"].dtype
    key = (rows, columns, n, normalization, sign, dtype)
    if key not in v.matrices:
        fixed = all(isinstance(size, int) for size in (rows, columns, n))
        make = _fixed if fixed else _computed
        v.matrices[key] = make(v, rows, columns, n, normalization, sign, dtype)
    return v.matrices[key]


def _fixed(
    v: Values, rows: int, columns: int, n: int, normalization: Any, sign: int, dtype: torch.dtype
) -> tuple[torch.fx.Node, torch.fx.Node]:
    """Tables as constants: float64 angles from exact remainders."""
    places = torch.arange(rows).unsqueeze(1) * torch.arange(columns) % n
    angles = places.double() * (2 * math.pi / n)
    scale = {NONE: 1.0, BY_ROOT: n**-0.5, BY_N: 1 / n}[normalization]
    tables = (angles.cos() * scale, angles.sin() * (sign * scale))
    names = ("cosines", "sines")
    made = [v.writer.constant(m, t.to(dtype)) for m, t in zip(names, tables, strict=True)]
    return made[0], made[1]


def _computed(
    v: Values, rows: Any, columns: Any, n: Any, normalization: Any, sign: int, dtype: torch.dtype
) -> tuple[torch.fx.Node, torch.fx.Node]:
    """Tables computed in the graph, from exact remainders in int64."""
    row = v.call(aten.unsqueeze.default, v.writer.arange(rows), 1)
    places = v.call(aten.mul.Tensor, row, v.writer.arange(columns))
    places = v.call(aten.remainder.Scalar, places, n)
    turns = v.div(v.call(aten._to_copy.default, places, dtype=dtype), n)
    angles = v.mul(turns, 2 * math.pi)
    tables = [v.call(op, angles) for op in (aten.cos.default, aten.sin.default)]
    if sign < 0:
        tables[1] = v.neg(tables[1])
    if normalization != NONE:
        size = v.call(aten.scalar_tensor.default, n, dtype=dtype)
        size = v.call(aten.sqrt.default, size) if normalization == BY_ROOT else size
        tables = [v.div(table, size) for table in tables]
    return tables[0], tables[1]


def _weights(v: Values, kept: Any, n: Any, like: torch.fx.Node) -> torch.fx.Node:
    """For each point of half a spectrum: 2 if it has a mirror image, else 1."""
    dtype = like.meta["val"].dtype
    if isinstance(kept, int) and isinstance(n, int):
        fixed = torch.full((kept,), 2.0, dtype=dtype)
        fixed[0] = 1.0
        fixed[n // 2 :] = 1.0 if n % 2 == 0 else 2.0
        return v.writer.constant("weights", fixed)
    points = v.writer.arange(kept)
    first = v.call(aten.eq.Scalar, points, 0)
    middle = v.call(aten.eq.Scalar, v.mul(points, 2), n)
    alone = v.call(aten.logical_or.default, first, middle)
    once: torch.fx.Node = v.add(v.neg(v.call(aten._to_copy.default, alone, dtype=dtype)), 2.0)
    return once


def _column(v: Values, weights: torch.fx.Node, part: Part, axis: int) -> Part:
    """The weights shaped to multiply along an axis."""
    behind = part.meta["val"].dim() - 1 - axis
    return v.call(aten.view.default, weights, [-1, *[1] * behind]) if behind else weights


# -- sizes ---------------------------------------------------------------------------------


def _size(v: Values, x: Part, axis: int) -> Any:
    """A size: a number, or a node."""
    size = x.meta["val"].shape[axis]
    if not isinstance(size, torch.SymInt):
        return size
    key = str(size.node.expr)
    if key not in v.sizes:
        v.sizes[key] = v.call(aten.sym_size.int, x, axis)
    return v.sizes[key]


def _half(v: Values, n: Any) -> Any:
    return n // 2 if isinstance(n, int) else v.call(operator.floordiv, n, 2)


def _plus(v: Values, n: Any, more: int) -> Any:
    return n + more if isinstance(n, int) else v.call(operator.add, n, more)
