"""The structure of a model's outputs as JSON: what is written reads back, everything else is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from enginebundle.errors import FormatError
from enginebundle.format.digest import canonical_json, parse_json
from enginebundle.format.index import Index
from enginebundle.format.structure import (
    MAX_DEPTH,
    Structure,
    Tree,
    is_flat,
    leaves,
    tree_from_json,
    tree_to_json,
)
from enginebundle.storage.store import Store
from tests.enginebundle.examples import index

NESTED = Structure(
    "dict",
    (
        Structure("tuple", ("y", None)),
        Structure("dataclass", (Structure("list", ()), "rows"), ("parts", "rows"), "m.Out"),
    ),
    (7, "7"),
)


@pytest.mark.parametrize(
    "tree",
    [
        None,
        "y",
        Structure("tuple", ()),
        Structure("list", ("y", "rows")),
        Structure("named_tuple", ("y",), ("a",), "m.Pair"),
        NESTED,
    ],
)
def test_a_tree_reads_back_as_itself(store: Store, tree: Tree) -> None:
    assert tree_from_json(parse_json(canonical_json(tree_to_json(tree)))) == tree
    with_it = replace(index(store), structure=tree)
    assert Index.from_bytes(with_it.to_bytes()) == with_it
    assert (b'"structure"' in with_it.to_bytes()) == (tree is not None)


def test_leaves_come_in_order() -> None:
    assert list(leaves(NESTED)) == ["y", "rows"]


def test_a_dict_of_all_outputs_in_order_is_flat() -> None:
    assert is_flat(Structure("dict", ("y", "rows"), ("y", "rows")), ["y", "rows"])
    for other in ("y", Structure("dict", ("rows", "y"), ("rows", "y")), Structure("tuple", ("y",))):
        assert not is_flat(other, ["y", "rows"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1, "expected an object, got int"),
        ({"kind": "set", "items": []}, "expected one of .* got 'set'"),
        ({"kind": "tuple"}, r"missing keys \['items'\]"),
        ({"kind": "tuple", "items": [], "code": ""}, r"unknown keys \['code'\]"),
        ({"kind": "tuple", "items": ["y"], "keys": ["a"]}, "expected 0 different keys"),
        ({"kind": "dict", "items": ["y"]}, "expected 1 different keys"),
        ({"kind": "dict", "items": ["y", "z"], "keys": ["a", "a"]}, "expected 2 different keys"),
        ({"kind": "dict", "items": ["y"], "keys": [True]}, "expected text or an integer, got True"),
        ({"kind": "dict", "items": ["y"], "keys": ["a"], "type": "m.D"}, "a dict of type 'm.D'"),
        ({"kind": "dataclass", "items": [], "keys": []}, "a dataclass of type ''"),
        ({"kind": "dataclass", "items": ["y"], "keys": ["a b"], "type": "m.D"}, "not names"),
        ({"kind": "dataclass", "items": ["y"], "keys": [3], "type": "m.D"}, "not names of fields"),
    ],
)
def test_anything_else_is_refused(value: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        tree_from_json(value)


def test_depth_is_limited() -> None:
    def nested(levels: int) -> Any:
        return {"kind": "list", "items": [nested(levels - 1)]} if levels else "y"

    assert list(leaves(tree_from_json(nested(MAX_DEPTH)))) == ["y"]
    with pytest.raises(FormatError, match=f"more than {MAX_DEPTH} levels"):
        tree_from_json(nested(MAX_DEPTH + 1))


def test_an_index_has_each_output_once_in_its_structure(store: Store) -> None:
    with pytest.raises(FormatError, match=r"structure: \['z'\] are not among the outputs"):
        replace(index(store), structure=Structure("tuple", ("y", "z")))
    with pytest.raises(FormatError, match="structure: 'y' comes twice"):
        replace(index(store), structure=Structure("tuple", ("y", "y")))
