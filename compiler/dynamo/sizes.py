"""Dynamo's symbols under our names: the input dimension that gives each its value, and its range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from compiler.trace.symbols import Symbols, expression
from enginebundle.format import dims
from enginebundle.format.dims import Dim
from enginebundle.format.spec import DEFAULT_PROFILE, Profile, Range

LARGEST = 1 << 31
"""A maximum beyond this means that there is none."""


class SizesOf:
    """The symbols of a graph's placeholders, named `s0`, `s1`, ... in order of appearance."""

    def __init__(self, holders: Sequence[torch.fx.Node], growth: int) -> None:
        self._growth = growth
        self._symbols: dict[Any, str] = {}
        self._envs: dict[Any, Any] = {}
        self._seats: dict[Any, tuple[str, int]] = {}
        shown: set[Any] = set()
        for node in holders:
            value = node.meta.get("example_value")
            sizes = value.shape if isinstance(value, torch.Tensor) else (value,)
            for size in sizes:
                if not isinstance(size, torch.SymInt):
                    continue
                found = expression(size)
                if found.is_Symbol and isinstance(value, torch.Tensor):
                    shown.add(found)
                for symbol in sorted(found.free_symbols, key=str):
                    self._symbols.setdefault(symbol, f"s{len(self._symbols)}")
                    self._envs[symbol] = size.node.shape_env
        self._shown = shown
        self._spelled = Symbols(list(self._symbols.items()))

    def refused(self) -> tuple[str, str] | None:
        """(message, remedy) where a size has no bounds to build for."""
        for symbol, env in self._envs.items():
            if _hint(env, symbol) is None:
                return (
                    f"size {symbol} depends on data, so nothing bounds it",
                    "pass it as an input's size, or bound it with torch._check",
                )
            if _bounds(env, symbol)[0] < 0 and symbol not in self._shown:
                return (
                    f"the input {symbol} is a number that may be negative",
                    "pass it as a tensor of rank 0, or keep it the same in all calls",
                )
        return None

    def is_free(self, node: torch.fx.Node) -> bool:
        """Whether a size among the placeholders is not the size of any input tensor."""
        found = expression(node.meta["example_value"])
        return bool(found.is_Symbol) and found not in self._shown

    def seat_at(self, name: str, sizes: Sequence[Any]) -> None:
        """Record that the input of that name has these sizes."""
        for axis, size in enumerate(sizes):
            found = expression(size)
            if found.is_Symbol:
                self._seats.setdefault(found, (name, axis))

    def seat(self, node: torch.fx.Node) -> tuple[str, int]:
        """The input and dimension that a size among the placeholders is read from."""
        return self._seats[expression(node.meta["example_value"])]

    def dim(self, size: Any) -> Dim:
        """A size as an expression over our names."""
        return size if isinstance(size, int) else self._spelled.dim(size)

    def knows(self, dim: Dim) -> bool:
        """Whether an expression is over the graph's own symbols alone."""
        return dims.symbols_of(dim) <= set(self._symbols.values())

    def profile(self) -> Profile:
        """The range of each symbol: what mark_dynamic gave, else from Dynamo's smallest size up to
        `growth` times the first one."""
        ranges: dict[str, Range] = {}
        for symbol, name in self._symbols.items():
            first = _hint(self._envs[symbol], symbol) or 0
            low, high = _bounds(self._envs[symbol], symbol)
            if high > LARGEST:
                high = max(first * self._growth, low)
            low = max(0, min(low, first))
            ranges[name] = Range(low, first, max(high, first))
        return Profile(DEFAULT_PROFILE, tuple(ranges.items()))


def _hint(env: Any, symbol: Any) -> int | None:
    values: Mapping[Any, Any] = getattr(env, "backed_var_to_val", None) or env.var_to_val
    found = values.get(symbol)
    return None if found is None else int(found)


def _bounds(env: Any, symbol: Any) -> tuple[int, int]:
    found = env.var_to_range[symbol]
    low = int(found.lower) if found.lower.is_Integer else -LARGEST
    return low, int(found.upper) if found.upper.is_Integer else 2 * LARGEST
