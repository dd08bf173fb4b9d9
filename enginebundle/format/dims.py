"""Dimensions: integers, or integer expressions over a model's symbols, such as `2*s + 1`.

The grammar is a subset of Python expressions: integers, names, `+ - * // %`, unary minus, `max(...)`
and `min(...)`. Nothing is ever passed to `eval`.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Mapping

from enginebundle.errors import FormatError

Dim = int | str
"""A size: a number, or an expression over symbols."""

_BINARY: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_MAX_DEPTH = 100
"""Levels of nesting: far more than any model needs, far fewer than Python's stack allows."""
_FUNCTIONS: dict[str, Callable[..., int]] = {"max": max, "min": min}


def evaluate(dim: Dim, symbols: Mapping[str, int]) -> int:
    """The value of `dim`, given each symbol's value. FormatError if it has none."""
    if isinstance(dim, int):
        return dim
    return _value(parse(dim), symbols, dim)


@functools.lru_cache(maxsize=4096)
def symbols_of(dim: Dim) -> frozenset[str]:
    """The symbols in a dimension."""
    if isinstance(dim, int):
        return frozenset()
    names = {node.id for node in ast.walk(parse(dim)) if isinstance(node, ast.Name)}
    return frozenset(names - set(_FUNCTIONS))


@functools.lru_cache(maxsize=4096)
def check(dim: Dim) -> None:
    """FormatError unless `dim` is in the grammar."""
    evaluate(dim, dict.fromkeys(symbols_of(dim), 1))


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> ast.expr:
    """The tree of an expression. FormatError if it is too long or too deep, or none."""
    if len(text) > 1000:
        raise FormatError(f"dimension expression of {len(text)} characters; at most 1000 allowed")
    try:
        body = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FormatError(f"dimension {text!r} is not an expression: {error}") from error
    level: list[ast.AST] = [body]
    for _ in range(_MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return body
    raise FormatError(f"dimension {text!r}: nested deeper than {_MAX_DEPTH} levels")


def _value(node: ast.expr, symbols: Mapping[str, int], text: str) -> int:
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name) if name in symbols:
            return symbols[name]
        case ast.Name(id=name):
            raise FormatError(f"dimension {text!r} uses the symbol {name!r}, which has no value")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, symbols, text)
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
            a, b = _value(left, symbols, text), _value(right, symbols, text)
            try:
                return _BINARY[type(op)](a, b)
            except ZeroDivisionError as error:
                raise FormatError(f"dimension {text!r} divides by zero") from error
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if (
            name in _FUNCTIONS and args
        ):
            return _FUNCTIONS[name]([_value(arg, symbols, text) for arg in args])
    raise FormatError(
        f"dimension {text!r}: only integers, symbols, + - * // %, max() and min() are allowed"
    )
