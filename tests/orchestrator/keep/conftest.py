"""A store with one small bundle, made once by `kiln run` and copied for each test that damages it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from enginebundle.storage.store import Store
from orchestrator import cli

BUILDERS = Path(__file__).parents[1] / "builders"
MANIFEST = """
defaults:
  inputs: {x: {dtype: float32, shape: [b, 4]}}
  profiles: {any: {b: [1, 4, 8]}}
  targets: ["torch:cpu"]
  goldens: {seed: 1, cases: 2}
models:
  - {name: m, source: {entrypoint: "tiny_models:tiny"}}
"""


@dataclass(frozen=True)
class Farm:
    """A manifest and its store, and the command line upon them."""

    folder: Path
    manifest: Path

    @property
    def store(self) -> Store:
        return Store.open(self.folder / "store")

    def files(self, pattern: str) -> list[Path]:
        """Files of the store."""
        return sorted(path for path in (self.folder / "store").rglob(pattern) if path.is_file())

    def result(self, step: str) -> Path:
        """The file of the result of a step."""
        import json

        for path in self.files("results/*/*.json"):
            try:
                if json.loads(path.read_text())["provenance"].get("task", "").split("/")[1:2] == [
                    step
                ]:
                    return path
            except (ValueError, KeyError):
                continue
        raise LookupError(step)

    def kiln(self, command: str, *more: str) -> int:
        """Run a command on the manifest and the store; returns its exit code."""
        first = [command, str(self.manifest)] if command in ("run", "plan") else [command]
        how = ["--executor", "local"] if command == "run" else []
        return cli.main([*first, *more, "--store", str(self.folder / "store"), *how])


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    (folder / "models").mkdir()
    shutil.copy(BUILDERS / "tiny_models.py", folder / "models")
    (folder / "models" / "manifest.yaml").write_text(MANIFEST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENGINEBUNDLE_HOME", str(folder / "home"))
        farm = Farm(folder, folder / "models" / "manifest.yaml")
        assert farm.kiln("run") == 0
    return farm


@pytest.fixture
def farm(made, tmp_path, monkeypatch):
    """A machine remembers the evidence that it saw, so its home is copied with the store."""
    for name in ("store", "home"):
        shutil.copytree(made.folder / name, tmp_path / "farm" / name)
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "farm" / "home"))
    return Farm(tmp_path / "farm", made.manifest)
