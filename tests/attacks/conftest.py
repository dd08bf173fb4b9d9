"""Every attack has a home, a cache and a store of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from tests.attacks.victim import Target
from tests.enginebundle.examples import CPU, index, new_store, publish


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ENGINEBUNDLE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "home"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path)


@pytest.fixture
def target(store: Store) -> Target:
    version = publish(store)
    validate_and_sign(store, version, CPU)
    target = Target(store, index(store))
    target.load()
    return target
