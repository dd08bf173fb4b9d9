"""Symbols' values from sizes: of `n`, `2*n + 1` and `32*h`, a size tells the symbol. So do the sizes `h//2` and `h%2`
together, or `(3*h)//2`: only one number gives them.

solve(sizes) -> {symbol: value}
unsolvable(dims) -> symbols that no size tells
"""

from __future__ import annotations

import ast
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
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
    given; where there is none left, a symbol whose own expressions only one number gives all their sizes.
    FormatError if no whole number gives such a size. Does not compare the sizes with each other otherwise.
    """
    return _solve(sizes, known, frozenset())[0]


def _solve(
    sizes: Sequence[tuple[Dim, int]], known: Mapping[str, int], left_out: frozenset[str]
) -> tuple[dict[str, int], frozenset[str]]:
    """The values, and the symbols that were searched for; not for those `left_out`."""
    values, searched = dict(known), frozenset[str]()
    learn([dim for dim, _ in sizes], [size for _, size in sizes], values)
    while True:
        lines = ((dim, size, _line_over_one(dim, values)) for dim, size in sizes)
        found = next(((dim, size, line) for dim, size, line in lines if line is not None), None)
        if found is None:
            numbers = _searched(sizes, values.keys() | left_out)
            if not numbers:
                return values, searched
            values |= numbers
            searched |= numbers.keys()
            continue
        dim, size, line = found
        values[line.symbol], rest = divmod(size - line.offset, line.slope)
        if rest:
            raise FormatError(f"no {line.symbol} gives {dim!r} the size {size}")


def unsolvable(dims: Iterable[Dim]) -> frozenset[str]:
    """The symbols of `dims` whose values `solve` does not find, whatever they are."""
    dims = tuple(dims)
    names = sorted(symbols_of_all(dims))
    ones = dict.fromkeys(names, 1)
    found: Mapping[str, int]
    try:
        sizes = [(dim, evaluate(dim, ones)) for dim in dims]
        _, searched = _solve(sizes, {}, frozenset())
        unclear = frozenset(name for name in searched if not _always_one(_own(dims, name), name))
        found, _ = _solve(sizes, {}, unclear)
    except FormatError:  # divides by zero there
        found = {dim: 1 for dim in dims if isinstance(dim, str) and dim.isidentifier()}
    return frozenset(names) - found.keys()


def _own(dims: Iterable[Dim], name: str) -> list[Dim]:
    """The expressions over this symbol alone."""
    return [dim for dim in dims if symbols_of(dim) == {name}]


def _searched(sizes: Sequence[tuple[Dim, int]], known: Collection[str]) -> dict[str, int]:
    """A symbol that is not known, with the only number that gives all sizes of its own; nothing if there is none."""
    for name in sorted(symbols_of_all(dim for dim, _ in sizes) - set(known)):
        own = [(dim, size) for dim, size in sizes if symbols_of(dim) == {name}]
        bands = [(band, size) for dim, size in own if (band := _band(parse(str(dim)))) is not None]
        near = [band.numbers(size) for band, size in bands if band.slope]
        if not near or len(near[0]) > _NEAR:
            continue
        fitting = [n for n in near[0] if all(evaluate(dim, {name: n}) == size for dim, size in own)]
        if not fitting:
            told = ", ".join(f"{dim!r} the size {size}" for dim, size in own)
            raise FormatError(f"no {name} gives {told}")
        if len(fitting) == 1:
            return {name: fitting[0]}
    return {}


def _always_one(own: Sequence[Dim], name: str) -> bool:
    """Whether there is only one such number whatever the symbol is. What remains of divisions repeats."""
    divisors: list[int] = []
    for node in (node for dim in own for node in ast.walk(parse(str(dim)))):
        match node:
            case ast.BinOp(op=ast.FloorDiv() | ast.Mod(), right=ast.Constant(value=int() as by)):
                divisors.append(abs(by))
    period = math.prod(divisors)
    return period <= _NEAR and all(
        name in solve([(dim, evaluate(dim, {name: n})) for dim in own]) for n in range(2 * period)
    )


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


class _Band(NamedTuple):
    """Between slope * symbol + low and slope * symbol + high."""

    slope: Fraction
    low: Fraction
    high: Fraction

    def numbers(self, size: int) -> range:
        """The symbol's values for which the size may be this one."""
        ends = sorted(((size - self.low) / self.slope, (size - self.high) / self.slope))
        return range(math.ceil(ends[0]), math.floor(ends[1]) + 1)


def _band(node: ast.expr) -> _Band | None:
    """Of an expression over one symbol; None if it is none."""
    match node:
        case ast.Constant(value=int() as value):
            return _Band(Fraction(0), Fraction(value), Fraction(value))
        case ast.Name():
            return _Band(Fraction(1), Fraction(0), Fraction(0))
        case ast.UnaryOp(operand=operand):
            return _times(_band(operand), -1)
        case ast.BinOp(op=ast.Add() | ast.Sub() as op, left=left, right=right):
            one, other = _band(left), _times(_band(right), 1 if isinstance(op, ast.Add) else -1)
            if one is None or other is None:
                return None
            return _Band(one.slope + other.slope, one.low + other.low, one.high + other.high)
        case (
            ast.BinOp(op=ast.Mult(), left=ast.Constant(value=int() as by), right=of)
            | ast.BinOp(op=ast.Mult(), left=of, right=ast.Constant(value=int() as by))
        ):
            return _times(_band(of), by)
        case ast.BinOp(op=ast.FloorDiv(), left=of, right=ast.Constant(value=int() as by)) if by > 0:
            exact = _times(_band(of), Fraction(1, by))
            return exact and exact._replace(low=exact.low - Fraction(by - 1, by))
        case ast.BinOp(op=ast.Mod(), left=of, right=ast.Constant(value=int() as by)) if by > 0:
            return _band(of) and _Band(Fraction(0), Fraction(0), Fraction(by - 1))
    return None  # max() and min()


def _times(band: _Band | None, by: int | Fraction) -> _Band | None:
    if band is None:
        return None
    low, high = sorted((band.low * by, band.high * by))
    return _Band(band.slope * by, low, high)


_NEAR = 1024
"""Numbers that are tried for a symbol."""
