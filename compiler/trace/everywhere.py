"""Is a condition on sizes true at every size that a profile allows?

    counterexamples(condition, profile) -> values of its symbols that break it: two, far apart
    sizes_that_hold(condition, symbol, bounds) -> the sizes of its only symbol

Conditions are sympy's, over the user's symbols. All sizes are tried, as arrays; where a profile has
too many, a condition without divisions and other steps is decided at the profile's corners.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import sympy

from enginebundle.format.spec import Profile, Range

MOST = 50_000_000
"""Sizes tried for one condition, some seconds' worth."""
CHUNK = 1_000_000


class Undecided(Exception):
    """The condition holds something that has no values here, or the profile has too many sizes."""


def counterexamples(condition: Any, profile: Profile) -> tuple[Mapping[str, int], ...]:
    """Values of the condition's symbols that are in the profile and break it.

    None, one or two: the first and the last of those that are tried together. Raises Undecided.
    """
    names = sorted(str(symbol) for symbol in condition.free_symbols)
    missing = [name for name in names if name not in profile.symbols]
    if missing:
        raise Undecided(f"{', '.join(missing)} is not a size of an input")
    ranges = [profile.symbols[name] for name in names]
    if math.prod(r.max - r.min + 1 for r in ranges) > MOST:
        return _at_corners(condition, names, ranges)
    for axes in _chunks(ranges):
        grids = dict(zip(names, np.ix_(*axes), strict=True))
        shape = tuple(len(axis) for axis in axes)
        holds = np.broadcast_to(evaluate(condition, grids), shape)
        broken = np.flatnonzero(~holds)
        if len(broken):
            ends = (broken[0], broken[-1]) if len(broken) > 1 else (broken[0],)
            places = [np.unravel_index(int(end), shape) for end in ends]
            return tuple(
                {n: int(axis[i]) for n, axis, i in zip(names, axes, place, strict=True)}
                for place in places
            )
    return ()


def sizes_that_hold(condition: Any, symbol: str, bounds: Range) -> list[int]:
    """The sizes in the bounds at which a condition on this symbol alone holds. Raises Undecided."""
    sizes = np.arange(bounds.min, min(bounds.max, bounds.min + MOST) + 1)
    holds = np.broadcast_to(evaluate(condition, {symbol: sizes}), sizes.shape)
    return [int(n) for n in sizes[holds]]


def _chunks(ranges: list[Range]) -> Iterator[list[np.ndarray[Any, Any]]]:
    """All sizes, as one axis for each range; the first is cut so that a chunk is not too large."""
    axes = [np.arange(r.min, r.max + 1) for r in ranges]
    if not axes:
        yield axes
        return
    rest = math.prod(len(axis) for axis in axes[1:])
    step = max(CHUNK // max(rest, 1), 1)
    for start in range(0, len(axes[0]), step):
        yield [axes[0][start : start + step], *axes[1:]]


def _at_corners(
    condition: Any, names: list[str], ranges: list[Range]
) -> tuple[Mapping[str, int], ...]:
    """As `counterexamples`, of a comparison of polynomials of degree one in each symbol.

    Their difference takes its largest and smallest value at corners.
    """
    if not isinstance(condition, sympy.core.relational.Relational):
        raise Undecided("there are too many sizes to try")
    difference = sympy.expand(condition.lhs - condition.rhs)
    symbols = sorted(condition.free_symbols, key=str)
    if not difference.is_polynomial(*symbols) or any(
        sympy.degree(difference, symbol) > 1 for symbol in symbols
    ):
        raise Undecided("there are too many sizes to try")
    corners = [dict(zip(names, c, strict=True)) for c in itertools.product(*map(_ends, ranges))]
    broken = [corner for corner in corners if not bool(evaluate(condition, corner))]
    if not broken and isinstance(condition, sympy.Ne):
        above = {bool(evaluate(difference, corner) > 0) for corner in corners}
        if len(above) > 1:
            raise Undecided("there are too many sizes to try")
    return tuple(broken[:2])


def _ends(bounds: Range) -> tuple[int, int]:
    return bounds.min, bounds.max


def _whole(numbers: Any) -> Any:
    return np.asarray(numbers).astype(np.int64)


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "Add": np.add, "Mul": np.multiply, "Pow": lambda a, b: a**b,
    "PowByNatural": lambda a, b: a**b, "Max": np.maximum, "Min": np.minimum,
    "FloorDiv": np.floor_divide, "CleanDiv": np.floor_divide, "CeilDiv": lambda a, b: -(-a // b),
    "Mod": np.mod, "PythonMod": np.mod, "ModularIndexing": lambda a, b, c: a // b % c,
    "IntTrueDiv": np.true_divide, "FloatTrueDiv": np.true_divide,
    "ToFloat": lambda x: np.asarray(x).astype(np.float64), "FloatPow": lambda a, b: a**b,
    "FloorToInt": lambda x: _whole(np.floor(x)), "TruncToInt": lambda x: _whole(np.trunc(x)),
    "CeilToInt": lambda x: _whole(np.ceil(x)),
    "RoundToInt": lambda x: _whole(np.round(x)), "floor": np.floor, "ceiling": np.ceil, "Abs": np.abs,
    "Equality": np.equal, "Unequality": np.not_equal, "StrictLessThan": np.less,
    "LessThan": np.less_equal, "StrictGreaterThan": np.greater, "GreaterThan": np.greater_equal,
    "And": np.logical_and, "Or": np.logical_or, "Not": np.logical_not,
    "OpaqueUnaryFn_sqrt": np.sqrt, "Where": np.where, "Identity": lambda x: x,
}  # fmt: skip
"""Sympy's and torch's classes of expressions, on arrays. A numpy function of two is applied to any more in turn."""


def evaluate(expr: Any, values: Mapping[str, Any]) -> Any:
    """The expression at arrays (or numbers) of its symbols. Raises Undecided."""
    if expr.is_Symbol:
        return values[str(expr)]
    if expr in (sympy.true, sympy.false):
        return bool(expr)
    if expr.is_Integer:
        return int(expr)
    if expr.is_Number:
        return float(expr)
    function = _FUNCTIONS.get(type(expr).__name__)
    if function is None:
        raise Undecided(f"{type(expr).__name__} of sizes has no values here")
    parts = [evaluate(part, values) for part in expr.args]
    with np.errstate(divide="ignore", invalid="ignore"):
        if isinstance(function, np.ufunc) and function.nin == 2:
            return functools.reduce(function, parts)
        return function(*parts)
