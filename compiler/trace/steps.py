"""Whole numbers that Python computes from a size and that rise in few steps, as symbols again.

    with remembered()           a context, around torch.export
    remember(tensor, size, f)   the tensor, which holds f(size)
    rounded(x, own)             own(x), such as math.ceil of a tensor that holds a number from a size
    steps(size, f)              f(size)

`2 ** math.ceil(math.log2(n))`, to which models pad, is 1, 2, 4, 8, ... of n. Python's own function is asked at every
size that n may have; where its answers change at most STEPS times, they are the first of them and a term for each
change: `min(1, n//5)` is 1 from 5 on. So the numbers are Python's, also where its logarithm is off in the last digit.
"""

from __future__ import annotations

import contextlib
import functools
import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import SymInt, Tensor
from torch.overrides import TorchFunctionMode

from compiler.refused import Refused
from compiler.trace.short_sizes import STEPS, Sizes, bounds_of, jumps

Function = Callable[[int], Any]


class SizeRead(Refused):
    """A number from a size has no form as a size. Code: `size`."""


def remember(tensor: Tensor, size: Any, function: Function) -> Tensor:
    """The tensor; from now on it is known to hold `function(size)`."""
    if isinstance(size, SymInt):
        vars(tensor)[_HELD] = (size, function)
    return tensor


def rounded(x: Tensor, own: Callable[[Any], Any]) -> Any:
    """`own(x)`: of a tensor that holds a number from a size, a symbol if it has few steps."""
    held = vars(x).get(_HELD)
    if held is None:
        return own(float(x))
    size, function = held
    found = steps(size, lambda n: own(function(n)))
    if found is NotImplemented:
        raise SizeRead(
            "size",
            f"a whole number that forward computes from a size has more than {STEPS} steps over the size's range, "
            "or is read as a number, with int() or otherwise",
            _REMEDY,
        )
    return found


def steps(size: SymInt, function: Function) -> Any:
    """`function(size)` as a symbol; NotImplemented if it has too many steps, or the size no bound."""
    node: Any = size.node
    bounds = bounds_of(node.shape_env, node.expr)
    if bounds is None:
        return NotImplemented
    sizes, values = _values(function, *bounds)
    rises = jumps(sizes, values) if len(values) else None
    if rises is None:
        return NotImplemented
    terms = [rise * _from(size, at, bounds[0]) for at, rise in rises]
    return torch.sym_sum([int(values[0]), *terms])  # type: ignore[no-untyped-call]


def _from(size: Any, at: int, low: int) -> Any:
    """1 from `at` on, else 0."""
    above = size // at if low >= 0 else torch.sym_max(0, size - at + 1)  # type: ignore[no-untyped-call]
    return torch.sym_min(1, above)  # type: ignore[no-untyped-call]


def _values(function: Function, low: int, high: int) -> tuple[Sizes, Sizes]:
    """Every size at which it has a value, and the values: a logarithm has none of 0."""
    known = {}
    for n in range(low, high + 1):
        with contextlib.suppress(ValueError, ArithmeticError):
            known[n] = function(n)
    whole = all(isinstance(value, int) and abs(value) < 1 << 62 for value in known.values())
    return np.array(list(known), np.int64), np.array(
        list(known.values()) if whole else [], np.int64
    )


@contextmanager
def remembered() -> Iterator[None]:
    """While open, what Python adds to such a number, or divides it by, is remembered with it, and rounds to a size."""
    for name, own in _ROUND.items():
        setattr(Tensor, name, functools.partialmethod(rounded, own))
    try:
        with _Remembers():
            yield
    finally:
        for name in _ROUND:
            delattr(Tensor, name)


class _Remembers(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if (
            torch.compiler.is_dynamo_compiling()
        ):  # a branch or a loop's body, through which Dynamo looks
            return func(*args, **(kwargs or {}))
        held: list[Any] = [vars(arg).get(_HELD) for arg in args if isinstance(arg, Tensor)]
        if held and all(held) and not kwargs:
            sizes = {size.node.expr for size, _ in held}
            if func in (Tensor.__int__, Tensor.__index__):
                raise SizeRead(
                    "size",
                    "int() reads a number that forward computes from a size, which fixes it",
                    _REMEDY,
                )
            form = _FORMS.get(func)
            if form is not None and len(sizes) == 1:
                made = func(*args)
                parts = [_part(arg) for arg in args]
                return remember(made, held[0][0], lambda n: form(*(part(n) for part in parts)))
        return func(*args, **(kwargs or {}))


def _part(arg: Any) -> Function:
    if isinstance(arg, Tensor):
        function: Function = vars(arg)[_HELD][1]
        return function
    return lambda n: arg


_REMEDY = (
    "round with math.floor() or math.ceil() and no int() around them: they give whole numbers, and keep the size "
    "dynamic; else narrow the size's range, or declare it as a number"
)
_HELD = "_kiln_held"
_ROUND: dict[str, Callable[[Any], Any]] = {
    "__ceil__": math.ceil, "__floor__": math.floor, "__trunc__": math.trunc, "__round__": round,
}  # fmt: skip
"""What Python calls to round, which tensors lack."""
_FORMS: dict[Any, Callable[..., Any]] = {
    Tensor.__add__: operator.add, Tensor.__radd__: operator.add, Tensor.__sub__: operator.sub,
    Tensor.__rsub__: lambda a, b: b - a, Tensor.__mul__: operator.mul, Tensor.__rmul__: operator.mul,
    Tensor.__truediv__: operator.truediv, Tensor.__rtruediv__: lambda a, b: b / a,
    Tensor.__neg__: operator.neg,
    Tensor.add: operator.add, Tensor.sub: operator.sub, Tensor.mul: operator.mul, Tensor.div: operator.truediv,
}  # fmt: skip
"""What Python computes where the tensor's own operator is called."""
