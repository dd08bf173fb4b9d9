"""Sizes kept short while torch.export computes with them.

    kept_short(longest) a context, around torch.export and what traces its programs again

A convolution that pads to the "same" size makes `(h + max(0, 1 - 2*(-h//2) - h) - 3)//2 + 1` of h, the next
one the same of that, and so on: after five, torch computes for minutes and the size has thousands of letters. Over the
range of h, all of them are `(h + 31)//32`. An expression over one symbol is replaced by such a quotient, times a number
and with another added, if both agree at every size of the symbol's range; else by its steps, if they are few.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import sympy
from torch.fx.experimental.sym_node import SymNode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._sympy.functions import FloorDiv, Min
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from compiler.trace.everywhere import Undecided, evaluate

Sizes = np.ndarray[Any, Any]
LONG = 6
"""Operations in an expression that is worth a look."""
MOST = 65_536
"""Sizes in a range that are tried."""
STEPS = 64
"""Changes of a number over its range that are written out."""
DIVISORS = (*range(1, 33), 40, 48, 56, 64, 80, 96, 128, 160, 192, 256, 320, 512, 640, 1024)


@contextmanager
def kept_short(longest: int | None = None) -> Iterator[None]:
    """While open, sizes that torch computes are written as `d*((a*n + b)//c) + e` where that is the same.

    `longest`: the largest of the inputs' sizes, for which torch knows no bound where it is not told names."""
    own = SymNode.__init__

    def init(self: SymNode, expr: Any, shape_env: Any, *args: Any, **kwargs: Any) -> None:
        own(self, _shortened(shape_env, expr), shape_env, *args, **kwargs)

    SymNode.__init__ = init  # type: ignore[method-assign]
    before, _longest[:] = _longest[:], [longest]
    try:
        yield
    finally:
        SymNode.__init__ = own  # type: ignore[method-assign]
        _longest[:] = before


_longest: list[int | None] = [None]
"""Of the context that is open."""


def _shortened(env: ShapeEnv | None, expr: Any) -> Any:
    if env is None or not isinstance(expr, sympy.Expr) or len(expr.free_symbols) != 1:
        return expr
    if expr.count_ops() < LONG:
        return expr
    (symbol,) = expr.free_symbols
    bounds = bounds_of(env, symbol)
    return expr if bounds is None else _short(expr, symbol, *bounds)


def bounds_of(env: ShapeEnv, expr: Any) -> tuple[int, int] | None:
    """From where to where the whole numbers of an expression go; None where there are too many.

    Torch takes no size for 0 or 1, and so knows of none below 2; the user's range may begin there."""
    ranges = {}
    for symbol in expr.free_symbols:
        known = env.var_to_range.get(symbol)
        if known is None or not known.is_int:
            return None
        high = known.upper if known.upper.is_Integer else _longest[0]
        if high is None or env.is_unbacked_symint(symbol):
            return None
        ranges[symbol] = ValueRanges(0 if 0 <= known.lower <= 2 else known.lower, high)
    found = bound_sympy(expr, ranges)
    if not found.lower.is_Integer or not found.upper.is_Integer:
        return None
    within = 0 <= found.upper - found.lower < MOST
    return (int(found.lower), int(found.upper)) if within else None


@functools.lru_cache(maxsize=4096)
def _short(expr: Any, symbol: sympy.Symbol, low: int, high: int) -> Any:
    """The shortest that equals `expr` from low to high: a quotient, a sum of steps, or `expr` itself."""
    sizes = np.arange(low, high + 1, dtype=np.int64)
    try:
        found = np.broadcast_to(evaluate(expr, {str(symbol): sizes}), sizes.shape)
    except (Undecided, OverflowError):
        return expr
    if not np.issubdtype(found.dtype, np.integer):
        return expr
    short = _quotient(symbol, sizes, found)
    if short is None:
        short = _in_steps(symbol, sizes, found)
    return expr if short is None or short.count_ops() > expr.count_ops() else short


def _quotient(symbol: sympy.Symbol, sizes: Sizes, found: Sizes) -> Any:
    """`d*((a*symbol + b)//c) + e` that is `found` at the sizes, or None."""
    step = int(np.gcd.reduce(found - found[0])) or 1
    offset = int(found[0]) % step
    found = (found - offset) // step
    slope = (int(found[-1]) - int(found[0])) / max(len(sizes) - 1, 1)
    for under in DIVISORS:
        for factor in {int(slope * under), int(slope * under) + 1}:
            # (a*n + b)//c == f  exactly where  c*f - a*n <= b < c*f - a*n + c
            rest = under * found - factor * sizes
            least, most = int(rest.max()), int(rest.min()) + under - 1
            if least <= most:
                line = factor * symbol + least
                return step * (line if under == 1 else FloorDiv(line, under)) + offset
    return None


def _in_steps(symbol: sympy.Symbol, sizes: Sizes, found: Sizes) -> Any:
    """`e + a*min(1, symbol//b) + ...` that is `found` at the sizes, or None."""
    first, rises = int(found[0]), jumps(sizes, found)
    if rises is None or int(sizes[0]) < 0:
        return None
    steps: list[Any] = [Min(1, FloorDiv(symbol, at)) for at, _ in rises]  # type: ignore[no-untyped-call]
    return first + sum(rise * step for (_, rise), step in zip(rises, steps, strict=True))


def jumps(sizes: Sizes, found: Sizes) -> list[tuple[int, int]] | None:
    """The sizes from which on values are others, and by how much they rise there; None if these are too many."""
    places = np.flatnonzero(np.diff(found))
    if len(places) > STEPS:
        return None
    return [(int(sizes[i + 1]), int(found[i + 1]) - int(found[i])) for i in places]
