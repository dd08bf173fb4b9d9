"""Functions of a user's program, swapped while the model is traced."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from compiler.refused import first_lines
from compiler.replace.replacement import Replaced, Replacement, ReplaceRefused
from compiler.trace.load import load_function

NAMESPACE = "kiln_replaced"
"""The operator namespace of functions that have a converter."""


@contextmanager
def replace_functions(
    replacements: Sequence[Replacement], search_path: tuple[str, ...] = ()
) -> Iterator[list[Replaced]]:
    """Inside the block the named functions are the user's replacements; the list is filled at its end.

    Raises ReplaceRefused at the end of the block if a function was never called in it.
    """
    restore: list[tuple[Any, str, Any]] = []
    calls: dict[Replacement, int] = {}
    done: list[Replaced] = []
    try:
        for replacement in replacements:
            if replacement.kind == "function":
                own = _function(replacement, search_path)
                calls[replacement] = 0
                place, name = _place(replacement, search_path)
                restore.append((place, name, getattr(place, name)))
                setattr(place, name, _counted(own, replacement, calls))
        yield done
    finally:
        for place, name, old in reversed(restore):
            setattr(place, name, old)
    for replacement, count in calls.items():
        if not count:
            raise ReplaceRefused(
                "unknown_function",
                f"{replacement} was replaced by {replacement.by}, but forward never calls it there",
                "name the function where the model looks it up: after `from a import f` in b.py "
                "that is `b:f`, not `a:f`",
            )
        done.append(Replaced(replacement, ()))


def _counted(
    own: Callable[..., Any], replacement: Replacement, calls: dict[Replacement, int]
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        calls[replacement] += 1
        return own(*args, **kwargs)

    return call


def function_operator(replacement: Replacement) -> str:
    """The overload that stands for a function with a converter."""
    return f"{NAMESPACE}.{_name(replacement)}.default"


def _name(replacement: Replacement) -> str:
    return replacement.pattern.replace(".", "_").replace(":", "__")


def _place(replacement: Replacement, search_path: tuple[str, ...]) -> tuple[Any, str]:
    """The module or class that holds the function, and its name there."""
    load_function(replacement.pattern, search_path)  # refuses with near names
    module, _, path = replacement.pattern.partition(":")
    place: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        place = getattr(place, part)
    return place, name


def _function(replacement: Replacement, search_path: tuple[str, ...]) -> Callable[..., Any]:
    if replacement.way == "with":
        return load_function(replacement.by, search_path)
    return as_operator(replacement, search_path)


def as_operator(replacement: Replacement, search_path: tuple[str, ...]) -> Callable[..., Any]:
    """The function as an operator of its own, its schema read from its annotations."""
    original = load_function(replacement.pattern, search_path)
    packet = getattr(torch.ops, NAMESPACE)
    name = _name(replacement)
    if hasattr(packet, name):
        return getattr(packet, name).default  # type: ignore[no-any-return]
    try:
        made = torch.library.custom_op(f"{NAMESPACE}::{name}", original, mutates_args=())
    except (ValueError, RuntimeError, TypeError) as error:
        raise ReplaceRefused(
            "function",
            f"{replacement} can't be an operator: {first_lines(error)}",
            "annotate each argument and the result (torch.Tensor, int, float, bool, Optional, list), "
            "or make it a torch.library.custom_op yourself and replace that operator",
        ) from error
    made.register_fake(original)
    return getattr(packet, name).default  # type: ignore[no-any-return]
