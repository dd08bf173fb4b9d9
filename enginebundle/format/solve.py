"""Symbols' values from sizes: of `n`, `2*n + 1` and `32*h`, a size tells the symbol.

solve(sizes) -> {symbol: value}
unsolvable(dims) -> symbols that no size tells
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from enginebundle.errors import FormatError
from enginebundle.format.dims import Dim, evaluate, parse, symbols_of


def learn(shape: Sequence[Dim], size: Sequence[int], symbols: dict[str, int]) -> None:
    """Take the values of new symbols that stand alone in a shape from a size."""
    for dim, number in zip(shape, size, strict=False):
        if isinstance(dim, str) and dim.isidentifier():
            symbols.setdefault(dim, number)


def solve(
    sizes: Sequence[tuple[Dim, int]], known: Mapping[str, int] = MappingProxyType({})
) -> dict[str, int]:
    """The `known` symbols, and each that the sizes tell, given each size's expression.

    Bare symbols first, then expressions that are a line over the one symbol that is not known yet, in the order
    given. FormatError if no whole number gives such a size. Does not compare the sizes with each other.
    """
    values = dict(known)
    learn([dim for dim, _ in sizes], [size for _, size in sizes], values)
    while True:
        lines = ((dim, size, _line_over_one(dim, values)) for dim, size in sizes)
        found = next(((dim, size, line) for dim, size, line in lines if line is not None), None)
        if found is None:
            return values
        dim, size, line = found
        values[line.symbol], rest = divmod(size - line.offset, line.slope)
        if rest:
            raise FormatError(f"no {line.symbol} gives {dim!r} the size {size}")


def unsolvable(dims: Iterable[Dim]) -> frozenset[str]:
    """The symbols of `dims` whose values `solve` does not find."""
    dims = tuple(dims)
    names = sorted(symbols_of_all(dims))
    ones = dict.fromkeys(names, 1)
    try:
        found = solve([(dim, evaluate(dim, ones)) for dim in dims])
    except FormatError:  # divides by zero there
        found = {dim: 1 for dim in dims if isinstance(dim, str) and dim.isidentifier()}
    return frozenset(names) - found.keys()


def symbols_of_all(dims: Iterable[Dim]) -> frozenset[str]:
    """The symbols in any of the dimensions."""
    return frozenset(symbol for dim in dims for symbol in symbols_of(dim))


class _Line(NamedTuple):
    """slope * symbol + offset, with a slope other than 0."""

    symbol: str
    slope: int
    offset: int


def _line_over_one(dim: Dim, known: Mapping[str, int]) -> _Line | None:
    """`dim`, if it is a line over the only one of its symbols that has no value yet."""
    unknown = symbols_of(dim) - known.keys()
    if len(unknown) != 1 or not isinstance(dim, str):
        return None
    line = _line(parse(dim), known)
    return _Line(min(unknown), *line) if line is not None and line[0] else None


def _line(node: ast.expr, known: Mapping[str, int]) -> tuple[int, int] | None:
    """(slope, offset) over the only symbol without a value, None if not a line."""
    match node:
        case ast.Constant(value=int() as value):
            return 0, value
        case ast.Name(id=name):
            return (0, known[name]) if name in known else (1, 0)
        case ast.UnaryOp(operand=operand):
            line = _line(operand, known)
            return None if line is None else (-line[0], -line[1])
        case ast.BinOp(op=op, left=left, right=right):
            one, other = _line(left, known), _line(right, known)
            return None if one is None or other is None else _combined(op, one, other)
    return None  # max() and min()


def _combined(
    op: ast.operator, one: tuple[int, int], other: tuple[int, int]
) -> tuple[int, int] | None:
    (a, b), (c, d) = one, other
    match op:
        case ast.Add():
            return a + c, b + d
        case ast.Sub():
            return a - c, b - d
        case ast.Mult() if a == 0 or c == 0:
            return a * d + c * b, b * d
        case ast.FloorDiv() if c == 0 and d != 0 and a % d == 0:
            return a // d, b // d
    return None
