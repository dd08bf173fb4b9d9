"""Operators that bundles call only where the loader's user allows them by name.

    functions(["mylib::scale"]) -> {"mylib.scale.default": the overload in torch.ops}

A library registers them with torch (`torch.library`, or when it is imported); a bundle holds no code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from enginebundle.errors import NotFoundError

Operators = Mapping[str, Callable[..., Any]]
"""Functions by torch's full name, such as `mylib.scale.default`."""
NONE: Operators = MappingProxyType({})


def full_name(name: str) -> str:
    """`mylib::scale`, `mylib.scale` and `mylib::scale.default` -> `mylib.scale.default`."""
    plain = name.removeprefix("torch.ops.").replace("::", ".")
    return plain if plain.count(".") > 1 else f"{plain}.default"


def functions(names: Iterable[str]) -> dict[str, Callable[..., Any]]:
    """The named operators as torch knows them here. NotFoundError names one that can't be used."""
    found = {}
    for name in names:
        function = function_of(full_name(name))
        if function is None:
            raise NotFoundError(
                f"operator {name!r} is not registered with torch in this process, or it is torch's own and "
                "changes its arguments; import the library that registers it before loading"
            )
        found[full_name(name)] = function
    return found


def function_of(op: str) -> Callable[..., Any] | None:
    """The overload in torch.ops, if there is one. One that writes into its arguments is called on copies."""
    import torch

    namespace, _, rest = op.partition(".")
    packet, _, overload = rest.rpartition(".")
    library = getattr(torch.ops, namespace, None) if namespace else None
    try:
        found = getattr(getattr(library, packet), overload)
    except AttributeError:
        return None
    if not isinstance(found, torch._ops.OpOverload):
        return None
    if not found._schema.is_mutable:
        return found
    # Torch's own that write do more than that: they resize, or share memory.
    return None if namespace == "aten" else _on_copies(found)


def _on_copies(operator: Any) -> Callable[..., tuple[Any, ...]]:
    """The operator without its effects: its results that are no written arguments (None if there is none), then the
    new value of each argument that it writes into; of a list, those of its tensors."""
    arguments = operator._schema.arguments
    names = [argument.name for argument in arguments]
    changed = [argument.name for argument in arguments if argument.is_write]
    own = [
        one.alias_info is None or not one.alias_info.is_write for one in operator._schema.returns
    ]

    def call(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        given = dict(zip(names, args, strict=False)) | kwargs
        for name in changed:
            given[name] = _copied(given.get(name))
        result = operator(**given)
        results = result if isinstance(result, tuple) else (result,) * len(own)
        made = [one for one, is_own in zip(results, own, strict=True) if is_own] or [None]
        made += [given[name] for name in changed]
        return tuple(tensor for one in made for tensor in (one if isinstance(one, list) else [one]))

    return call


def _copied(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [one.clone() for one in value]
    return None if value is None else value.clone()
