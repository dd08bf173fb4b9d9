"""Shared by the rules for complex operators: how they are registered, and how they write calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from compiler.lower.complex.values import Complex, Part, Values

Rule = Callable[[Values, torch.fx.Node], Complex | torch.fx.Node | None]
"""Gives the parts of a complex result, the node of a real one, or None if it does not cover the call."""


class Rules(dict[str, Rule]):
    """Rules by overload (without `aten.`), filled by one module."""

    def rule(self, *names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a function of (values, *arguments) for these overloads; arguments come in schema order."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            for name in names:
                self[name] = lambda values, node: function(values, *bound(node).values())
            return function

        return register


def is_complex(node: torch.fx.Node) -> bool:
    """Whether a node's value is complex, or a list of complex tensors."""
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(v, torch.Tensor) and v.dtype.is_complex for v in values)


def bound(node: torch.fx.Node) -> dict[str, Any]:
    """The node's arguments by their names in the schema, defaults included."""
    schema = node.target._schema  # type: ignore[union-attr]
    names = [argument.name for argument in schema.arguments]
    defaults = {a.name: a.default_value for a in schema.arguments}
    return defaults | dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def called(values: Values, node: torch.fx.Node, arguments: dict[str, Any]) -> torch.fx.Node:
    """A call of the node's operator with other arguments, defaults left out as torch does."""
    schema = node.target._schema  # type: ignore[union-attr]
    places = [a.name for a in schema.arguments if not a.kwarg_only]
    given = {a.name: arguments[a.name] for a in schema.arguments}
    defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    while places and places[-1] in defaults and given[places[-1]] == defaults[places[-1]]:
        places.pop()
    words = {
        a.name: given[a.name]
        for a in schema.arguments
        if a.kwarg_only and given[a.name] != a.default_value
    }
    made: torch.fx.Node = values.call(node.target, *(given[name] for name in places), **words)
    return made


def zeros(values: Values, value: Complex) -> Part:
    """The imaginary part, with zeros (or 0) in place of None."""
    if value.imag is not None or isinstance(value.real, torch.fx.Node):
        return values.imag(value)
    return 0


def real_word(argument: Any) -> Any:
    """The real dtype for a complex dtype; any other argument unchanged."""
    is_word = isinstance(argument, torch.dtype) and argument.is_complex
    return argument.to_real() if is_word else argument
