"""docs/loading.md: its Python blocks run, in order, and print what the page says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from enginebundle import errors
from enginebundle.__main__ import main
from enginebundle.errors import BundleError
from enginebundle.serve.machine import this_machine
from enginebundle.serve.validate import validate_and_sign
from tests.enginebundle.examples import CPU, new_store, publish

PAGE = Path(__file__).resolve().parents[2] / "docs" / "loading.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: ./store with tiny:latest, validated, and tiny:next, pending; ./keys."""
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    store = new_store(tmp_path)
    validate_and_sign(store, publish(store), CPU)
    publish(store, label="next", alias="next")
    shutil.copytree(tmp_path / "home" / "trusted", tmp_path / "keys")
    return tmp_path


@pytest.mark.skipif(this_machine().arch is not None, reason="the page describes a CPU machine")
def test_every_block_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) == 9
    for code, text in blocks:
        exec(compile(code, str(PAGE), "exec"), names)
        told = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
        assert capsys.readouterr().out.splitlines() == (text.splitlines() or told)


def test_the_page_lists_every_error() -> None:
    listed = re.findall(r"^\| `(\w+)` \| ", PAGE.read_text(), re.MULTILINE)
    raised = {name for name, value in vars(errors).items() if isinstance(value, type)}
    # A loader never moves an alias, the only thing that raises ConflictError.
    assert set(listed) == raised - {BundleError.__name__, "ConflictError", "annotations"}


@pytest.mark.parametrize("command", ["inspect", "verify", "match"])
def test_the_commands_of_the_page(command: str) -> None:
    assert f"    python -m enginebundle {command} ./store/tiny:latest" in PAGE.read_text()
    assert main([command, "./store/tiny:latest"]) == 0
