"""Arguments of operator cases that grow with n."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch

Make = Callable[[int], tuple[tuple[Any, ...], dict[str, Any]]]


def call(*args: Any, **kwargs: Any) -> Make:
    """Positional and keyword arguments; functions among them (also in lists) are called with n."""

    def make(n: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        seeds = itertools.count()
        return (
            tuple(_at(a, n, seeds) for a in args),
            {k: _at(a, n, seeds) for k, a in kwargs.items()},
        )

    return make


def _at(argument: Any, n: int, seeds: Iterator[int]) -> Any:
    """Each argument has its own seed, so weights do not depend on n."""
    if isinstance(argument, list):
        return [_at(a, n, seeds) for a in argument]
    if not callable(argument):
        return argument
    torch.manual_seed(next(seeds))
    return argument(n)


def x(*sizes: int | str, dtype: torch.dtype = torch.float32) -> Callable[[int], torch.Tensor]:
    """A random tensor; a size may be text such as "n", "2n" or "3n+1"."""
    return lambda n: (torch.randn([size(s, n) for s in sizes]) * 4).to(dtype)


def below(limit: int | str, *sizes: int | str, low: int | str = 0,
          dtype: torch.dtype = torch.int64) -> Callable[[int], torch.Tensor]:  # fmt: skip
    """Random integers from low up to but excluding limit."""
    return lambda n: torch.randint(
        size(low, n), size(limit, n), [size(s, n) for s in sizes], dtype=dtype
    )


def distinct(limit: int | str, count: int | str) -> Callable[[int], torch.Tensor]:
    """`count` different integers below limit."""
    return lambda n: torch.randperm(size(limit, n))[: size(count, n)]


def i(text: str) -> Callable[[int], int]:
    """An integer argument such as "n", "2n-1", "-n"."""
    return lambda n: size(text, n)


def size(text: int | str, n: int) -> int:
    """The number that a size stands for."""
    if isinstance(text, int):
        return text
    found = re.fullmatch(r"(-?\d*)n([+-]\d+)?", text)
    assert found, text
    factor = {"": 1, "-": -1}.get(found[1]) or int(found[1])
    return factor * n + int(found[2] or 0)
