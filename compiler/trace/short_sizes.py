"""Sizes kept short while torch.export computes with them.

    kept_short()        a context, around torch.export and what traces its programs again

A convolution that pads to the "same" size makes `(h + max(0, 1 - 2*(-h//2) - h) - 3)//2 + 1` of h, the next
one the same of that, and so on: after five, torch computes for minutes and the size has thousands of letters. Over the
range of h, all of them are `(h + 31)//32`. An expression over one symbol is replaced by such a quotient, times a number
and with another added, if both agree at every size of the symbol's range.
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
from torch.utils._sympy.functions import FloorDiv

from compiler.trace.everywhere import Undecided, evaluate

LONG = 6
"""Operations in an expression that is worth a look."""
MOST = 65_536
"""Sizes in a range that are tried."""
DIVISORS = (*range(1, 33), 40, 48, 56, 64, 80, 96, 128, 160, 192, 256, 320, 512, 640, 1024)


@contextmanager
def kept_short() -> Iterator[None]:
    """While open, sizes that torch computes are written as `d*((a*n + b)//c) + e` where that is the same."""
    own = SymNode.__init__

    def init(self: SymNode, expr: Any, shape_env: Any, *args: Any, **kwargs: Any) -> None:
        own(self, _shortened(shape_env, expr), shape_env, *args, **kwargs)

    SymNode.__init__ = init  # type: ignore[method-assign]
    try:
        yield
    finally:
        SymNode.__init__ = own  # type: ignore[method-assign]


def _shortened(env: ShapeEnv | None, expr: Any) -> Any:
    if env is None or not isinstance(expr, sympy.Expr) or len(expr.free_symbols) != 1:
        return expr
    if expr.count_ops() < LONG:
        return expr
    (symbol,) = expr.free_symbols
    bounds = env.var_to_range.get(symbol)
    if bounds is None or not bounds.is_int or not bounds.upper.is_finite:
        return expr
    # Torch takes no size for 0 or 1, and so knows of none below 2; the user's range may begin there.
    low = 0 if bounds.lower <= 2 else int(bounds.lower)
    return _quotient(expr, symbol, low, int(bounds.upper)) if bounds.upper - low < MOST else expr


@functools.lru_cache(maxsize=4096)
def _quotient(expr: Any, symbol: sympy.Symbol, low: int, high: int) -> Any:
    """`d*((a*symbol + b)//c) + e` that equals `expr` from low to high, or `expr` itself."""
    sizes = np.arange(low, high + 1, dtype=np.int64)
    try:
        found = np.broadcast_to(evaluate(expr, {str(symbol): sizes}), sizes.shape)
    except (Undecided, OverflowError):
        return expr
    if not np.issubdtype(found.dtype, np.integer):
        return expr
    step = int(np.gcd.reduce(found - found[0])) or 1
    offset = int(found[0]) % step
    found = (found - offset) // step
    slope = (int(found[-1]) - int(found[0])) / max(high - low, 1)
    for under in DIVISORS:
        for factor in {int(slope * under), int(slope * under) + 1}:
            # (a*n + b)//c == f  exactly where  c*f - a*n <= b < c*f - a*n + c
            rest = under * found - factor * sizes
            least, most = int(rest.max()), int(rest.min()) + under - 1
            if least <= most:
                line = factor * symbol + least
                return step * (line if under == 1 else FloorDiv(line, under)) + offset
    return expr
