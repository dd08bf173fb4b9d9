"""The user's dimension symbols on one side, torch's on the other.

`torch.export` names sizes after its own sources (`s77`); a manifest names them `batch`. `Symbols`
learns the mapping from the shapes of a program's inputs and writes any of torch's size expressions
in the grammar of `enginebundle.format.dims`, with the user's names. What that grammar can't express,
and sizes that depend on data, become fresh symbols `u0`, `u1`, ...
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

import sympy
from torch.utils._sympy import functions as torch_sympy

from enginebundle.format import dims
from enginebundle.format.dims import Dim


class Symbols:
    """Mapping from torch's symbols to expressions over the user's.

    `pairs` are (torch's size, the user's dimension) for every dimension of every input. Pairs whose
    torch side can't be solved for one symbol are skipped; guards.py checks them by value.
    """

    def __init__(self, pairs: Iterable[tuple[Any, Dim]]) -> None:
        pairs = [(expression(size), dim) for size, dim in pairs]
        self._taken = {name for _, dim in pairs for name in dims.symbols_of(dim)}
        self._fresh: dict[str, str] = {}
        self._known: dict[sympy.Symbol, sympy.Expr] = {}
        # The simplest equations first, so that s77 = batch wins over 2*s77 = 2*batch.
        for size, dim in sorted(pairs, key=lambda p: (not p[0].is_Symbol, not _bare(p[1]))):
            free = size.free_symbols
            if len(free) != 1 or isinstance(dim, int):
                continue
            (symbol,) = free
            if symbol in self._known or not size.is_polynomial(symbol):
                continue
            if sympy.degree(size, symbol) == 1:
                slope = size.coeff(symbol, 1)
                self._known[symbol] = _divide(parsed(dim) - size.coeff(symbol, 0), slope)

    def covers(self, size: Any) -> bool:
        """Whether every symbol in torch's size is known from the inputs."""
        return bool(expression(size).free_symbols <= self._known.keys())

    def value(self, size: Any, symbols: Mapping[str, int]) -> Any:
        """Torch's expression (a size or a condition) at values of the user's symbols, as sympy."""
        values = {_symbol(name): sympy.Integer(number) for name, number in symbols.items()}
        return expression(size).subs(self._known).subs(values)

    def dim(self, size: Any) -> Dim:
        """Torch's size in the user's terms: a number, an expression, or a fresh symbol."""
        expr = expression(size)
        unknown = sorted(expr.free_symbols - self._known.keys(), key=str)
        for symbol in unknown:
            self._known[symbol] = _symbol(self._new(str(symbol)))
        mapped = expr.subs(self._known)
        if mapped.is_Integer:
            return int(mapped)
        try:
            return _print(mapped)
        except _Unprintable:
            return self._new(str(mapped))

    def _new(self, key: str) -> str:
        if key not in self._fresh:
            numbers = (f"u{n}" for n in range(len(self._taken) + 1))
            self._fresh[key] = next(name for name in numbers if name not in self._taken)
            self._taken.add(self._fresh[key])
        return self._fresh[key]


def expression(size: Any) -> Any:
    """The sympy expression behind a number, a SymInt or a sympy expression."""
    if isinstance(size, sympy.Basic):
        return size
    node = getattr(size, "node", None)
    return node.expr if node is not None else sympy.Integer(int(size))


def _bare(dim: Dim) -> bool:
    return isinstance(dim, str) and dim.isidentifier()


def _symbol(name: str) -> sympy.Symbol:
    return sympy.Symbol(name, integer=True, positive=True)


def _divide(value: sympy.Expr, divisor: sympy.Expr) -> sympy.Expr:
    quotient = sympy.expand(value / divisor)
    if all(c.is_integer for c in quotient.as_coefficients_dict().values()):
        return quotient
    return torch_sympy.FloorDiv(value, divisor)


def parsed(dim: Dim) -> sympy.Expr:
    """The user's dimension over the user's symbols, as sympy."""
    dims.check(dim)
    return sympy.Integer(dim) if isinstance(dim, int) else _build(ast.parse(dim, mode="eval").body)


def _build(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return sympy.Integer(value)
        case ast.Name(id=name):
            return _symbol(name)
        case ast.UnaryOp(operand=operand):
            return -_build(operand)
        case ast.BinOp(op=op, left=left, right=right):
            a, b = _build(left), _build(right)
            match op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.FloorDiv():
                    return torch_sympy.FloorDiv(a, b)
            return torch_sympy.PythonMod(a, b)
        case ast.Call(func=ast.Name(id=name), args=args):
            chosen = torch_sympy.Max if name == "max" else torch_sympy.Min
            return chosen(*[_build(arg) for arg in args])
    raise AssertionError("dims.check lets nothing else through")


class _Unprintable(Exception):
    """The grammar of enginebundle.format.dims can't express this."""


def _print(expr: Any) -> str:
    """Write an expression with its operands in a fixed order, so that equal expressions look equal."""
    if expr.is_Integer:
        return str(int(expr))
    if expr.is_Symbol:
        return str(expr)
    if expr.is_Add:
        return _sum(expr)
    if expr.is_Mul:
        numerator, denominator = expr.as_numer_denom()
        if denominator != 1:
            if not (expr.is_integer and denominator.is_Integer):
                raise _Unprintable
            return f"{_factor(numerator)}//{int(denominator)}"
        numbers = [_factor(a) for a in expr.args if a.is_Integer]
        return "*".join(numbers + sorted(_factor(a) for a in expr.args if not a.is_Integer))
    if expr.is_Pow and expr.exp.is_Integer and 1 < expr.exp <= 8:
        return "*".join([_factor(expr.base)] * int(expr.exp))
    name = type(expr).__name__
    if name in ("FloorDiv", "CleanDiv"):
        return f"{_factor(expr.args[0])}//{_factor(expr.args[1])}"
    if name in ("Mod", "PythonMod"):
        return f"{_factor(expr.args[0])}%{_factor(expr.args[1])}"
    if name == "ModularIndexing":
        base, divisor, modulus = map(_factor, expr.args)
        return f"({base}//{divisor})%{modulus}"
    if name in ("Max", "Min"):
        return f"{name.lower()}({', '.join(sorted(_print(a) for a in expr.args))})"
    if name in ("FloorToInt", "TruncToInt", "CeilToInt"):
        return _rounded(expr.args[0], up=name == "CeilToInt")
    raise _Unprintable


def _rounded(expr: Any, up: bool) -> str:
    """Floor or ceiling of a quotient of sizes. Sizes are not negative, so truncation is floor."""
    if type(expr).__name__ == "IntTrueDiv":
        numerator, denominator = expr.args
    else:
        # A product with a binary fraction, such as a scale factor of 0.5 or 1.5, is exact.
        plain = expr.replace(torch_sympy.ToFloat, lambda size: size)
        coefficient, numerator = plain.as_coeff_Mul()
        if not (coefficient.is_Float and numerator.is_integer):
            raise _Unprintable
        top, bottom = float(coefficient).as_integer_ratio()
        if bottom > 1024:
            raise _Unprintable
        numerator, denominator = numerator * top, sympy.Integer(bottom)
    if denominator == 1:
        return _print(numerator)
    if up:
        return f"-({_factor(-numerator)}//{_factor(denominator)})"
    return f"{_factor(numerator)}//{_factor(denominator)}"


def _sum(expr: Any) -> str:
    """`b*s + 2*s - 1`: positive terms first, the constant last."""
    terms: list[tuple[bool, bool, str]] = []
    for term in expr.args:
        negative = bool(term.could_extract_minus_sign())
        text = _print(-term if negative else term)
        terms.append((bool(term.is_Integer), negative, text))
    terms.sort(key=lambda t: (t[1], t[0], t[2]))
    text = f"-{_wrap(terms[0][2])}" if terms[0][1] else terms[0][2]
    for _, negative, term in terms[1:]:
        text += f" - {_wrap(term) if ' ' in term else term}" if negative else f" + {term}"
    return text


def _factor(expr: Any) -> str:
    return _wrap(_print(expr))


def _wrap(text: str) -> str:
    return text if text.isidentifier() or text.isdigit() else f"({text})"
