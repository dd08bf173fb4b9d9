"""A store with two versions, and the command on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from enginebundle.storage.store import Store
from orchestrator import cli
from tests.enginebundle.examples import new_store, publish


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this machine's keys are, and what it has seen."""
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def store(home: Path, tmp_path: Path) -> Store:
    """tiny@1 and tiny@2, the latter as latest."""
    store = new_store(tmp_path)
    publish(store, label="one")
    publish(store, label="two")
    return store


@pytest.fixture
def kiln(store: Store) -> Callable[..., int]:
    """The command's exit code."""
    return lambda *words: cli.main([*words, "--store", store.uri])
