"""Names for whatever a model's forward returns.

A single tensor is `output`; a tuple gives `output_0`, `output_1` ...; a dict, a dataclass, a
named tuple or a transformers `ModelOutput` gives its keys; deeper structure joins them with `_`.
A leaf that is None is dropped, and a number becomes a tensor of rank 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch


def named_leaves(value: Any) -> list[tuple[str, Any]]:
    """Every leaf that is not None with its unique name, in order."""
    result: list[tuple[str, Any]] = []
    taken: set[str] = set()
    for path, leaf in _walk(value, ()):
        name = "_".join(path) if path and not path[0].isdigit() else "_".join(("output", *path))
        base, count = name, 1
        while name in taken:
            name, count = f"{base}_{count}", count + 1
        taken.add(name)
        result.append((name, leaf))
    return result


def output_tensors(value: Any) -> dict[str, torch.Tensor]:
    """A forward's result as named tensors, numbers as tensors of rank 0. TypeError otherwise."""
    result: dict[str, torch.Tensor] = {}
    for name, leaf in named_leaves(value):
        if isinstance(leaf, torch.Tensor):
            result[name] = leaf
        elif isinstance(leaf, bool | int | float):
            result[name] = torch.tensor(leaf)
        else:
            raise TypeError(f"output {name!r} is a {type(leaf).__name__}; expected a tensor")
    return result


def _walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if value is None:
        return
    if isinstance(value, Mapping):
        children = [(str(key), item) for key, item in value.items()]
    elif dataclasses.is_dataclass(value):
        children = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        children = list(zip(value._fields, value, strict=True))
    elif isinstance(value, list | tuple):
        children = [(str(index), item) for index, item in enumerate(value)]
    else:
        yield path, value
        return
    for name, item in children:
        yield from _walk(item, (*path, name))
