"""Operators of libraries that return an argument that they write into: `scale_(Tensor(a!) x) -> Tensor(a!)`.

Torch makes pure calls of those that return nothing they write into. So each gets a twin that returns nothing,
and a call of it becomes a call of the twin, whose result is the argument.

    function(operator) -> what to trace in its place, or None      original(twin) -> operator
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

_LIBRARY: Any = torch.library.Library("kilnwrites", "FRAGMENT")  # type: ignore[no-untyped-call]
_ORIGINALS: dict[Any, Any] = {}


def function(operator: Any) -> Callable[..., Any] | None:
    """For an operator all of whose results are arguments that it writes into."""
    schema = operator._schema
    if operator.namespace in ("aten", "prims") or not schema.is_mutable:
        return None
    returned = [_argument(schema, one) for one in schema.returns]
    if not returned or None in returned:
        return None
    twin = _twin(operator)

    def call(**given: Any) -> Any:
        twin(**given)
        made = tuple(given[name] for name in returned if name is not None)
        return made if len(made) > 1 else made[0]

    return call


def original(operator: Any) -> Any:
    """The operator behind a twin; any other as it is."""
    return _ORIGINALS.get(operator, operator)


def _argument(schema: Any, returned: Any) -> str | None:
    """The name of the argument that a result is, if it is one that is written."""
    mine = returned.alias_info
    if mine is None or not mine.is_write:
        return None
    alike = (a for a in schema.arguments if a.alias_info is not None and a.is_write)
    return next((a.name for a in alike if a.alias_info.before_set == mine.before_set), None)


@functools.cache
def _twin(operator: Any) -> Any:
    text = str(operator._schema)
    arguments = text[text.index("(") : text.rindex(" ->")]
    name = str(operator).replace(".", "_")
    _LIBRARY.define(f"{name}{arguments} -> ()")

    def run(*args: Any, **kwargs: Any) -> None:
        operator(*args, **kwargs)

    _LIBRARY.impl(name, run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"kilnwrites::{name}", lambda *_, **__: None, lib=_LIBRARY)
    twin = getattr(torch.ops.kilnwrites, name).default
    _ORIGINALS[twin] = operator
    return twin
