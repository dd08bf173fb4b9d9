"""Every attack has its own home, cache and store."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from tests.attacks.victim import Victim
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
def victim(store: Store) -> Victim:
    version = publish(store)
    validate_and_sign(store, version, CPU)
    victim = Victim(store, index(store))
    victim.load()
    return victim
