"""Python's own functions of numbers, for sizes that are symbols.

    with_symbols()      a context, around torch.export

`math.sqrt(n)`, `math.log(n)` and `divmod(n, 3)` are C and read a size as a number, which fixes it to the example's.
While this is open, roots and quotients are symbols again; of the other functions torch has no symbolic form that
a program may hold, so that their results are tensors, computed like any other. With real numbers they are
Python's own. What is rounded, as `math.ceil(math.log2(n))` is, is a size again: compiler/trace/steps.py.
"""

from __future__ import annotations

import functools
import math
import sys
import sysconfig
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from compiler.trace import steps

Symbol = torch.SymInt | torch.SymFloat
_SYMBOLS = (torch.SymInt, torch.SymFloat)


@contextmanager
def with_symbols() -> Iterator[None]:
    """While open, the functions in FORMS take symbols, also where a module has imported them by name."""
    places = [
        (names, name, value)
        for names in list(map(_names, sys.modules.values()))
        for name in _mentions(names)
        if id(value := names.get(name)) in _EITHER
    ]
    for names, name, value in places:
        names[name] = _EITHER[id(value)]
    try:
        with _methods(torch.SymInt, _METHODS), steps.remembered():
            yield
    finally:
        for names, name, value in places:
            names[name] = value


@contextmanager
def _methods(owner: Any, methods: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """While open, a class has these methods of its own."""
    before = {name: vars(owner)[name] for name in methods if name in vars(owner)}
    for name, method in methods.items():
        setattr(owner, name, method)
    try:
        yield
    finally:
        for name in methods:
            delattr(owner, name)
        for name, method in before.items():
            setattr(owner, name, method)


def _names(module: object) -> dict[str, Any]:
    return getattr(module, "__dict__", None) or {}


def _mentions(names: dict[str, Any]) -> Collection[str]:
    """The names by which a module has these functions. There are thousands of modules, so those of an installed one
    are remembered until there are more or fewer names in it."""
    known = _KNOWN.get(id(names))
    if known is not None and known.size == len(names):
        return known.found
    found: tuple[str, ...] = ()
    if not _foreign(names.get("__name__")):
        found = tuple(name for name, value in list(names.items()) if id(value) in _EITHER)
    if str(names.get("__file__")).startswith(_INSTALLED):
        _KNOWN[id(names)] = _Known(names, len(names), found)
    return found


@dataclass(frozen=True, slots=True)
class _Known:
    names: dict[str, Any]
    """Kept, so that no other module's names get its id."""
    size: int
    found: tuple[str, ...]


def _foreign(module: object) -> bool:
    """Whether a module computes with sizes itself, behind torch."""
    return str(module).partition(".")[0] in ("torch", "sympy", "mpmath")


def _either(name: str, form: Callable[..., Any]) -> Callable[..., Any]:
    own = getattr(math, name)

    @functools.wraps(own)
    def function(*args: Any) -> Any:
        symbolic = any(isinstance(arg, _SYMBOLS) for arg in args)
        return form(*args) if symbolic else own(*args)

    return function


def _in_a_tensor(name: str) -> Callable[..., Any]:
    """A tensor without dimensions, which counts in types as Python's number does."""
    function, pythons = getattr(torch, name), getattr(math, name)

    def form(x: Any) -> Any:
        found = function(torch.scalar_tensor(x, dtype=torch.get_default_dtype()))
        return steps.remember(found, x, pythons)

    return form


def _log(x: Any, base: Any = None) -> Any:
    natural = _in_a_tensor("log")
    if base is None:
        return natural(x)
    found = natural(x) / natural(base)
    own = _PYTHONS["log"]
    return (
        steps.remember(found, x, lambda n: own(n, base)) if isinstance(base, int | float) else found
    )


def _gcd(*numbers: Any) -> Any:
    """Of one symbol and a number: each divisor of the number that divides the symbol as well counts as often as
    there are numbers up to it that share none with it (Gauss)."""
    plain = [number for number in numbers if isinstance(number, int)]
    symbols: list[Any] = [number for number in numbers if isinstance(number, torch.SymInt)]
    known = math.gcd(*plain)
    if len(symbols) != 1 or len(plain) + 1 != len(numbers) or not 0 < known <= _DIVIDED:
        return _PYTHONS["gcd"](*numbers)
    (n,) = symbols
    terms = [
        sum(math.gcd(i, d) == 1 for i in range(1, d + 1)) * (n // d - (n - 1) // d)
        for d in range(1, known + 1)
        if known % d == 0
    ]
    return torch.sym_sum(terms)  # type: ignore[no-untyped-call]


def _lcm(*numbers: Any) -> Any:
    if len(numbers) != 2:
        return _PYTHONS["lcm"](*numbers)
    return numbers[0] * numbers[1] // math.gcd(*numbers)


def _power(exponent: Any, base: Any) -> Any:
    """`2 ** exponent`, by its steps: torch's own power of symbols has no form as a size."""
    found = steps.steps(exponent, lambda k: base**k) if isinstance(base, int) else NotImplemented
    return _TORCHS_POWER(exponent, base) if found is NotImplemented else found


def _bit_length(number: Any) -> Any:
    found = steps.steps(number, int.bit_length)
    return int(number).bit_length() if found is NotImplemented else found


def _shifted(bits: Any, number: Any) -> Any:
    """`1 << bits`"""
    return number * 2**bits


_PYTHONS: Mapping[str, Callable[..., Any]] = {"gcd": math.gcd, "lcm": math.lcm, "log": math.log}
_DIVIDED = 1024
"""The largest number whose divisors are written out."""
_OF_ONE = (
    "exp", "expm1", "log10", "log1p", "log2", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin",
    "acos", "atan", "erf", "erfc",
)  # fmt: skip
FORMS: Mapping[str, Callable[..., Any]] = {
    "sqrt": torch.sym_sqrt, "isqrt": lambda n: math.floor(torch.sym_sqrt(n)),
    "log": _log, "gcd": _gcd, "lcm": _lcm, **{name: _in_a_tensor(name) for name in _OF_ONE},
}  # fmt: skip
"""By the name in `math`: the form for symbols."""
_TORCHS_POWER: Any = torch.SymInt.__rpow__
_METHODS: Mapping[str, Callable[..., Any]] = {
    "__divmod__": lambda self, other: (self // other, self % other),
    "__rlshift__": _shifted,
    "__rpow__": _power,
    "bit_length": _bit_length,
}
"""Of integers, which torch's symbols lack or read as numbers."""
_EITHER = {id(getattr(math, name)): _either(name, form) for name, form in FORMS.items()}
"""By the id of Python's function: what stands in its place."""
_INSTALLED = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_KNOWN: dict[int, _Known] = {}
