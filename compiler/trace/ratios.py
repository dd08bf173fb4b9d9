"""Numbers that forward computes in tensors of one element from sizes: `torch.ceil((length - k) / stride)`.

    number(node, known) -> int | SymInt | None

EnCodec and Mimi pad by such numbers, Longformer cuts into so many chunks. Computed on sizes themselves they
stay symbolic. Exact, as ratios of whole numbers: float32, in which eager PyTorch divides, agrees for results
below 2**22.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import SymInt
from torch.fx import Node

Whole = int | SymInt


@dataclass(frozen=True)
class Ratio:
    """over / under, where under > 0 is a number."""

    over: Whole
    under: int = 1

    def __add__(self, other: Ratio) -> Ratio:
        under = math.lcm(self.under, other.under)
        return Ratio(self.over * (under // self.under) + other.over * (under // other.under), under)

    def __neg__(self) -> Ratio:
        return Ratio(-self.over, self.under)

    def __sub__(self, other: Ratio) -> Ratio:
        return self + -other

    def __mul__(self, other: Ratio) -> Ratio:
        return Ratio(self.over * other.over, self.under * other.under)

    def floor(self) -> Ratio:
        return self if self.under == 1 else Ratio(self.over // self.under)

    def ceil(self) -> Ratio:
        return -(-self).floor()

    def trunc(self) -> Ratio:
        return self if self.under == 1 else self.floor() if self.over >= 0 else self.ceil()


def _divided(one: Ratio, other: Ratio, rounding_mode: str | None = None) -> Ratio:
    if not isinstance(other.over, int) or other.over == 0:
        raise _UnknownError
    sign = 1 if other.over > 0 else -1
    found = Ratio(one.over * other.under * sign, one.under * other.over * sign)
    return found if rounding_mode is None else getattr(found, rounding_mode)()


def _remainder(one: Ratio, other: Ratio) -> Ratio:
    return one - _divided(one, other, "floor") * other


def _to(one: Ratio, dtype: torch.dtype, *_: object) -> Ratio:
    if dtype in (torch.int32, torch.int64):
        return one.trunc()
    if dtype in (torch.float32, torch.float64):
        return one
    raise _UnknownError


def _maximum(one: Ratio, other: Ratio) -> Ratio:
    # The choice becomes a guard, which compiler/trace/guards.py holds against every size.
    return one if (one - other).over >= 0 else other


def _same(one: Ratio) -> Ratio:
    return one


def _comparison(name: str) -> Callable[[Ratio, Ratio], Ratio]:
    compare = getattr(operator, name)  # a guard, too
    return lambda one, other: Ratio(int(bool(compare((one - other).over, 0))))


class _UnknownError(Exception):
    """An operator, or an argument, that has no place here."""


OPERATORS: dict[str, Callable[..., Ratio]] = {
    "aten.add": operator.add, "aten.sub": operator.sub, "aten.rsub": lambda a, b: b - a,
    "aten.mul": operator.mul, "aten.neg": operator.neg, "aten.div": _divided,
    "aten.floor_divide": lambda a, b: _divided(a, b, "floor"), "aten.remainder": _remainder,
    "aten.maximum": _maximum, "aten.minimum": lambda a, b: -_maximum(-a, -b),
    "aten.floor": Ratio.floor, "aten.ceil": Ratio.ceil, "aten.trunc": Ratio.trunc,
    "aten.to": _to, "aten.clone": _same, "aten.detach": _same, "aten.lift_fresh_copy": _same,
    "aten.scalar_tensor": _same,
    **{f"aten.{name}": _comparison(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}  # fmt: skip


def number(node: Node, known: Mapping[Node, float]) -> Whole | None:
    """The whole number in a tensor of one element, from sizes and tensors whose numbers are known."""
    try:
        found = _ratio(node, known)
    except _UnknownError:
        return None
    return found.over if found.under == 1 else None


def _ratio(what: Any, known: Mapping[Node, float]) -> Ratio:
    if isinstance(what, int):
        return Ratio(int(what))
    if isinstance(what, float) and what.is_integer():
        return Ratio(int(what))
    if not isinstance(what, Node):
        raise _UnknownError
    value: Any = what.meta.get("val")
    if isinstance(value, int | SymInt):
        return Ratio(value)
    if what in known:
        return _ratio(known[what], known)
    name, _, _ = str(what.target).rpartition(".")
    if name not in OPERATORS or value.numel() != 1:
        raise _UnknownError
    rest = {k: v for k, v in what.kwargs.items() if k == "rounding_mode"}
    if len(rest) < len(what.kwargs):
        raise _UnknownError  # alpha, dtype, ...
    args = [a if isinstance(a, torch.dtype) else _ratio(a, known) for a in what.args]
    return OPERATORS[name](*args, **rest)
