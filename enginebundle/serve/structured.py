"""A session whose calls return what the traced model returned: tensors in its tuples, dicts and dataclasses.

A bundle names the types of its named tuples and dataclasses, and the caller gives those that it wants; nothing is
imported by a bundle's word. Of the others, a named tuple comes back as one with the same fields, and a dataclass
as a Record. Numbers come back as tensors of rank 0. What forward writes into its inputs (`x_after`) is only in the
plain dict.
"""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError, InputError
from enginebundle.format.index import Index
from enginebundle.format.structure import Structure, Tree, types

if TYPE_CHECKING:
    import torch

    Outputs = Mapping[str, torch.Tensor]


class Record(dict[str, Any]):
    """The fields of a dataclass whose type nobody gave: `record["logits"]` or `record.logits`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"expected one of {', '.join(self)}, got {name!r}") from None


class Structured:
    """Calls as a session's, with results in the form that the model gave them."""

    def __init__(
        self, call: Callable[..., Outputs], acall: Callable[..., Awaitable[Outputs]], index: Index,
        given: Iterable[type] | Mapping[str, type] = (),
    ) -> None:  # fmt: skip
        self._call = call
        self._acall = acall
        self._tree = index.structure
        self._makers = _makers(self._tree, given)

    def __call__(self, /, *placed: Any, **inputs: Any) -> Any:
        """A call of the session. Raises what that raises."""
        return self.restore(self._call(*placed, **inputs))

    async def acall(self, /, *placed: Any, **inputs: Any) -> Any:
        """The session's `acall`."""
        return self.restore(await self._acall(*placed, **inputs))

    def restore(self, outputs: Outputs) -> Any:
        """The form that the model gave to these outputs of the session."""
        return dict(outputs) if self._tree is None else self._restored(self._tree, outputs)

    def _restored(self, tree: Tree, outputs: Outputs) -> Any:
        if tree is None:
            return None
        if isinstance(tree, str):
            return outputs[tree]
        items = [self._restored(item, outputs) for item in tree.items]
        if tree.type:
            return self._makers[tree.type, tree.keys](**dict(zip(tree.keys, items, strict=True)))  # type: ignore[arg-type]
        if tree.kind == "dict":
            return dict(zip(tree.keys, items, strict=True))
        return tuple(items) if tree.kind == "tuple" else items


def _makers(
    tree: Tree, given: Iterable[type] | Mapping[str, type]
) -> dict[tuple[str, tuple[str | int, ...]], Callable[..., Any]]:
    """What makes each named tuple and dataclass of a tree, by its name and its fields."""
    if not isinstance(given, Mapping):
        given = {f"{one.__module__}.{one.__qualname__}": one for one in given}
    found = list(types(tree))
    known = sorted({one.type for one in found})
    if unknown := sorted(given.keys() - set(known)):
        raise InputError(f"expected types of the model's result ({known}), got {unknown}")
    return {(one.type, one.keys): _maker(one, given.get(one.type)) for one in found}


def _maker(structure: Structure, wanted: type | None) -> Callable[..., Any]:
    keys = tuple(map(str, structure.keys))
    if wanted is None and structure.kind == "dataclass":
        return Record
    if wanted is None:
        name = structure.type.rpartition(".")[2]
        try:
            return namedtuple(name, keys)
        except ValueError as error:
            raise FormatError(f"structure: no named tuple {name!r} of {keys}: {error}") from error
    if structure.kind == "dataclass":
        own = dataclasses.fields(wanted) if dataclasses.is_dataclass(wanted) else ()
        fits = set(keys) <= {one.name for one in own if one.init}
        has = [one.name for one in own]
    else:
        has = list(getattr(wanted, "_fields", ()))
        fits = tuple(has) == keys
    if not fits:
        raise InputError(
            f"{structure.type}: expected a {structure.kind} with the fields {list(keys)}, got "
            f"{wanted.__qualname__} with {has}"
        )
    return wanted
