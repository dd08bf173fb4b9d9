"""Exported folders."""

from __future__ import annotations

from pathlib import Path

import pytest

import enginebundle
from enginebundle.errors import (
    NotFoundError,
    StoreError,
)
from enginebundle.format.spec import Target
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import export
from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from tests.enginebundle.examples import CPU, publish


def test_an_export_loads_by_itself(store: Store, tmp_path: Path) -> None:
    publish(store, label="first")
    version = publish(store, label="second")
    validate_and_sign(store, version, CPU)
    folder = export(Bundle.open(store, version), tmp_path / "out" / "tiny-bundle")
    session = enginebundle.load(folder)
    assert str(session.bundle.version) == "tiny@2"
    assert session.selection[0].state == "validated"
    moved = folder.rename(tmp_path / "moved")
    assert enginebundle.load(str(moved)).bundle.version.digest == version.digest
    with pytest.raises(StoreError, match="it already exists"):
        export(Bundle.open(store, version), moved)
    assert [p.name for p in (tmp_path / "out").iterdir()] == []


def test_an_export_of_some_targets_leaves_the_others_blobs_out(
    store: Store, tmp_path: Path
) -> None:
    bundle = Bundle.open(store, publish(store))
    engine = bundle.index.variants[1].parts[0].segments[0].blob
    folder = export(bundle, tmp_path / "tiny-cpu", [CPU])
    assert not Store.open(folder).has_blob(engine)
    assert enginebundle.load(folder, target=CPU, allow_pending=True).open()
    with pytest.raises(NotFoundError, match="has no variant rtx:sm_75"):
        export(bundle, tmp_path / "none", [Target.parse("rtx:sm_75")])
    assert not (tmp_path / "none").exists()
