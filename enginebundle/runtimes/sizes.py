"""Arithmetic on sizes: the `sym.*` calls of a graph, on host numbers that fit in 64 bits."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from enginebundle.errors import RuntimeFailure

Number = int | float | bool


def _pow(base: Number, exponent: Number) -> Any:
    if abs(exponent) > 64:
        raise RuntimeFailure(f"sym.pow: exponent {exponent}, expected at most 64 in magnitude")
    return base**exponent


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul,
    "floordiv": operator.floordiv, "mod": operator.mod, "truediv": operator.truediv,
    "neg": operator.neg, "pow": _pow, "max": max, "min": min, "eq": operator.eq,
    "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt,
    "ge": operator.ge, "not": operator.not_, "and": operator.and_, "or": operator.or_,
    "int": int, "float": float, "ceil": math.ceil, "floor": math.floor, "sqrt": math.sqrt,
    "round": round,
    "ite": lambda condition, yes, no: yes if condition else no,
}  # fmt: skip


def function(name: str) -> Callable[..., Any] | None:
    """The function behind `sym.<name>`, which raises RuntimeFailure; None if there is no such call."""
    compute = _FUNCTIONS.get(name)
    if compute is None:
        return None

    def call(*numbers: Number) -> Number:
        if not all(isinstance(number, int | float) for number in numbers):
            raise RuntimeFailure(f"sym.{name}: expected numbers, got {numbers!r}")
        try:
            result: Number = compute(*numbers)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise RuntimeFailure(f"sym.{name}{numbers!r}: {error}") from error
        if isinstance(result, int) and not -(1 << 63) <= result < 1 << 63:
            raise RuntimeFailure(f"sym.{name}: the result does not fit in 64 bits")
        return result

    return call
