"""How a model's outputs stood together where they were traced: tuples, lists, dicts, dataclasses, as plain JSON.

A tree is an output's name, None, or a Structure whose items are trees. A type is a name and nothing else: a
reader imports no module that a bundle names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from enginebundle.errors import FormatError
from enginebundle.format.parse import array, fields, text

Kind = Literal["tuple", "list", "dict", "named_tuple", "dataclass"]
MAX_DEPTH = 32
"""Containers inside each other."""
Tree: TypeAlias = "Structure | str | None"


@dataclass(frozen=True, slots=True)
class Structure:
    """A container. `keys` name the items, except those of a tuple or list; only a dict's may be integers.

    `type` is `module.Class` of a named tuple or dataclass. FormatError if these do not fit together.
    """

    kind: Kind
    items: tuple[Tree, ...]
    keys: tuple[str | int, ...] = ()
    type: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise FormatError(f"structure: expected one of {get_args(Kind)}, got {self.kind!r}")
        if bool(self.type) != (self.kind in ("named_tuple", "dataclass")):
            raise FormatError(f"structure: a {self.kind} of type {self.type!r}")
        wanted = 0 if self.kind in ("tuple", "list") else len(self.items)
        if len(self.keys) != wanted or len(set(self.keys)) != wanted:
            raise FormatError(f"structure: expected {wanted} different keys, got {list(self.keys)}")
        if self.type and not all(isinstance(k, str) and k.isidentifier() for k in self.keys):
            raise FormatError(f"structure: {list(self.keys)} are not names of fields")

    def to_json(self) -> dict[str, Any]:
        return (
            {"kind": self.kind, "items": [tree_to_json(item) for item in self.items]}
            | ({"keys": list(self.keys)} if self.keys else {})
            | ({"type": self.type} if self.type else {})
        )


def tree_to_json(tree: Tree) -> Any:
    return tree.to_json() if isinstance(tree, Structure) else tree


def tree_from_json(value: Any, depth: int = 0) -> Tree:
    """FormatError for anything that `tree_to_json` does not write, and for more than MAX_DEPTH levels."""
    if value is None or isinstance(value, str):
        return value
    if depth >= MAX_DEPTH:
        raise FormatError(f"structure: more than {MAX_DEPTH} levels deep")
    value = fields(value, "structure", ("kind", "items"), ("keys", "type"))
    kind: Any = text(value["kind"], "structure kind")
    return Structure(
        kind,
        array(value["items"], "structure items", lambda item: tree_from_json(item, depth + 1)),
        array(value.get("keys", []), "structure keys", _key),
        text(value.get("type", ""), "structure type"),
    )


def leaves(tree: Tree) -> Iterator[str]:
    """The outputs in a tree, in order."""
    if isinstance(tree, str):
        yield tree
    elif tree is not None:
        for item in tree.items:
            yield from leaves(item)


def types(tree: Tree) -> Iterator[Structure]:
    """The named tuples and dataclasses in a tree, from the outside in."""
    if isinstance(tree, Structure):
        if tree.type:
            yield tree
        for item in tree.items:
            yield from types(item)


def is_flat(tree: Tree, outputs: Sequence[str]) -> bool:
    """Whether it is the dict of the outputs by name: what an index without a structure means."""
    return tree == Structure("dict", tuple(outputs), tuple(outputs))


def _key(value: Any) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise FormatError(f"structure key: expected text or an integer, got {value!r}")
    return value
