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

from enginebundle.errors import FormatError
from enginebundle.format.structure import Structure, Tree, is_flat


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


def structure_of(value: Any) -> Tree:
    """How the named leaves stand together. None where they are just a dict of them, and where a dict has other
    keys than text and integers, which a bundle can't tell."""
    leaves = iter(named_leaves(value))
    names = [name for name, _ in named_leaves(value)]
    try:
        tree = _tree(value, leaves)
    except FormatError:
        return None
    return None if is_flat(tree, names) else tree


def _tree(value: Any, leaves: Iterator[tuple[str, Any]]) -> Tree:
    if value is None:
        return None
    children = _children(value)
    if children is None:
        return next(leaves)[0]
    trees = {key: _tree(item, leaves) for key, item in children}
    kind, keys, kept = type(value), tuple(trees), tuple(trees.values())
    if dataclasses.is_dataclass(value):
        # A mapping, such as a ModelOutput, leaves out what is None.
        keys = tuple(f.name for f in dataclasses.fields(value))
        return Structure("dataclass", tuple(trees.get(k) for k in keys), keys, _name(kind))
    if isinstance(value, Mapping):
        if not all(type(key) in (str, int) for key in keys):
            raise FormatError(f"expected keys that are text or integers, got {list(keys)}")
        return Structure("dict", kept, keys)
    if names := _field_names(value):
        return Structure("named_tuple", kept, names, _name(kind))
    return Structure("tuple" if isinstance(value, tuple) else "list", kept)


def _field_names(value: Any) -> tuple[str, ...]:
    """A named tuple's fields, or those of one of torch's own (`torch.return_types.max`)."""
    if isinstance(value, tuple) and hasattr(value, "n_sequence_fields"):
        return tuple(getattr(type(value), "__match_args__", ()))
    return tuple(getattr(value, "_fields", ()))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if value is None:
        return
    children = _children(value)
    if children is None:
        yield path, value
        return
    for key, item in children:
        yield from _walk(item, (*path, str(key)))


def _children(value: Any) -> list[tuple[Any, Any]] | None:
    """What a container holds, by key, field or place; None if it is no container."""
    if isinstance(value, Mapping):
        return list(value.items())
    if dataclasses.is_dataclass(value):
        return [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    return list(enumerate(value)) if isinstance(value, list | tuple) else None
