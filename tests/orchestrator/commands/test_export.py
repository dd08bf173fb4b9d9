"""`kiln export`: what it writes, what it tells, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import enginebundle
from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from orchestrator import cli
from tests.enginebundle.examples import CPU, new_store, publish


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """tiny@1, validated, and tiny@2, pending, which is the latest."""
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    store = new_store(tmp_path)
    validate_and_sign(store, publish(store, label="one"), CPU)
    publish(store, label="two")
    return store


def kiln(store: Store, *arguments: object) -> int:
    try:
        return cli.main(["export", *map(str, arguments), "--store", store.uri])
    except SystemExit as left:
        return int(left.code or 0)


def test_a_folder_is_loaded_by_its_path(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "out"
    assert kiln(store, "tiny@1", to, "--target", "torch:cpu") == 0
    assert (
        capsys.readouterr().out == f"tiny@1 is in {to}; enginebundle.load({str(to)!r}) opens it\n"
    )
    assert enginebundle.load(to).version.number == 1
    assert kiln(store, "tiny@1", to) == 2
    assert "already exists" in capsys.readouterr().err
    assert kiln(store, "tiny", tmp_path / "all", "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"bundle": "tiny@2", "to": str(tmp_path / "all"), "form": "folder"}


def test_one_file_is_loaded_by_its_path(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kiln(store, "tiny@1", tmp_path / "tiny.bundle", "--as", "file") == 0
    assert enginebundle.load(tmp_path / "tiny.bundle").version.number == 1
    assert kiln(store, "tiny@1", tmp_path / "tiny.bundle", "--as", "file") == 2
    assert "already exists" in capsys.readouterr().err


def test_triton_gets_models(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "models"
    assert kiln(store, "tiny@1", to, "--as", "triton", "--target", "torch:cpu", "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["models"], told["plan"], told["max_batch_size"]) == (["tiny"], False, 0)
    assert "Python backend" in told["notes"][1]
    assert sorted(p.name for p in (to / "tiny").iterdir()) == ["1", "config.pbtxt"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tiny@1", "--as", "triton"], "expected one --target, of torch:cpu, rtx:sm_89"),
        (["tiny@2", "--as", "triton", "--target", "torch:cpu"], "pass --allow-pending"),
        (["tiny@1", "--as", "triton", "--target", "rtx:sm_75"], "no variant rtx:sm_75"),
        (["tiny@3"], "tiny@3"),
        (["none"], "none"),
        (["tiny@1", "--as", "zip"], "invalid choice"),
        (["tiny@1", "--target", "cpu"], "cpu"),
    ],
)
def test_what_can_not_be_exported_is_said(
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    bundle, *rest = arguments
    assert kiln(store, bundle, tmp_path / "out", *rest) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pending_goes_to_triton_if_it_is_asked_for(store: Store, tmp_path: Path) -> None:
    arguments = ("tiny@2", tmp_path / "m", "--as", "triton", "--target", "torch:cpu")
    assert kiln(store, *arguments, "--allow-pending") == 0
    assert (tmp_path / "m/tiny/2/model.py").exists()
