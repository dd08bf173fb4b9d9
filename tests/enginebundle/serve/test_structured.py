"""Results in the form that the traced model gave them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import enginebundle
from enginebundle.errors import FormatError, InputError
from enginebundle.format.structure import Structure, Tree
from enginebundle.serve.session import Session
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from tests.enginebundle.examples import CPU, expected, index, reference

X, MASK = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, -6.0]]), torch.tensor([True, True])
Y = expected(X, MASK)["y"]


@dataclass
class Out:
    rows: torch.Tensor
    y: torch.Tensor
    hidden: torch.Tensor | None = None


class Pair(NamedTuple):
    y: torch.Tensor
    rows: torch.Tensor


def session_of(store: Store, tree: Tree) -> Session:
    raw = replace(index(store), structure=tree).to_bytes()
    version = store.publish("tiny", raw, default_signer().sign(raw))
    return enginebundle.load(f"{reference(store)}@{version.number}", target=CPU, allow_pending=True)


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        (None, lambda got: got["y"]),
        ("y", lambda got: got),
        (Structure("tuple", ("rows", "y")), lambda got: got[1]),
        (Structure("list", ("rows", Structure("tuple", ("y",)))), lambda got: got[1][0]),
        (Structure("dict", (Structure("list", ("y",)),), (3,)), lambda got: got[3][0]),
    ],
)
def test_plain_containers(store: Store, tree: Tree, path: Any) -> None:
    session = session_of(store, tree)
    assert list(session(X, MASK)) == ["y", "rows"]
    model = session.structured()
    torch.testing.assert_close(path(model(X, MASK)), Y)
    torch.testing.assert_close(path(model(x=X, mask=MASK)), Y)
    torch.testing.assert_close(path(asyncio.run(model.acall(X, MASK))), Y)
    torch.testing.assert_close(path(model.restore(session(X, MASK))), Y)


def test_containers_have_their_own_types(store: Store) -> None:
    tree = Structure("dict", (Structure("tuple", ("rows",)), Structure("list", (None,))), (0, "0"))
    got = session_of(store, tree).structured()(X, MASK)
    assert list(got) == [0, "0"]
    assert type(got[0]) is tuple
    assert got[0][0].item() == 2
    assert got["0"] == [None]


DATACLASS = Structure("dataclass", ("rows", "y", None), ("rows", "y", "hidden"), f"{__name__}.Out")
NAMED = Structure("named_tuple", ("y", "rows"), ("y", "rows"), f"{__name__}.Pair")


def test_a_dataclass_comes_back_as_the_type_that_is_given(store: Store) -> None:
    session = session_of(store, DATACLASS)
    for types in ([Out], {f"{__name__}.Out": Out}):
        got = session.structured(types)(X, MASK)
        assert type(got) is Out
        assert got.rows.item() == 2
        assert got.hidden is None
        torch.testing.assert_close(got.y, Y)


def test_without_its_type_a_dataclass_is_a_record(store: Store) -> None:
    got = session_of(store, DATACLASS).structured()(X, MASK)
    torch.testing.assert_close(got.y, Y)
    assert got["y"] is got.y
    assert got.hidden is None
    assert list(got) == ["rows", "y", "hidden"]
    with pytest.raises(AttributeError, match="expected one of rows, y, hidden, got 'logits'"):
        _ = got.logits


def test_named_tuples(store: Store) -> None:
    session = session_of(store, Structure("tuple", (NAMED, None)))
    given, _ = session.structured([Pair])(X, MASK)
    made, _ = session.structured()(X, MASK)
    assert type(given) is Pair
    assert type(made).__name__ == "Pair"
    assert made._fields == ("y", "rows")
    torch.testing.assert_close(given.y, Y)
    torch.testing.assert_close(made[0], Y)


def test_nothing_is_imported_by_a_bundles_word(
    store: Store, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    tree = replace(DATACLASS, type="evil_module.Out")
    assert session_of(store, tree).structured()(X, MASK).rows.item() == 2


@pytest.mark.parametrize(
    ("tree", "types", "message"),
    [
        (None, [Out], r"expected types of the model's result \(\[\]\), got \['.*Out'\]"),
        (DATACLASS, [Pair], r"\['.*Out'\]\), got \['.*Pair'\]"),
        (DATACLASS, {f"{__name__}.Out": Pair}, "expected a dataclass with the fields"),
        (DATACLASS, {f"{__name__}.Out": int}, r"got int with \[\]"),
        (NAMED, {f"{__name__}.Pair": Out}, "expected a named_tuple with the fields"),
        (
            replace(NAMED, items=("rows", "y"), keys=("rows", "y")),
            [Pair],
            r"expected a named_tuple with the fields \['rows', 'y'\], got Pair with \['y', 'rows'\]",
        ),
    ],
)
def test_types_that_do_not_fit_are_refused_before_a_call(
    store: Store, tree: Tree, types: Any, message: str
) -> None:
    session = session_of(store, tree)
    with pytest.raises(InputError, match=message):
        session.structured(types)


@pytest.mark.parametrize("field", ["class", "_y"])
def test_a_named_tuple_that_python_can_not_have(store: Store, field: str) -> None:
    session = session_of(store, replace(NAMED, keys=(field, "rows")))
    with pytest.raises(FormatError, match="no named tuple 'Pair'"):
        session.structured()
