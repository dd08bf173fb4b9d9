"""A user's module that another of its name hides is named; any other is left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import compiler
from compiler.trace.load import ModelRefused, load_function
from compiler.trace.shadow import shadow

ROOT = Path(__file__).resolve().parents[3]
INSTALLED = {
    "compiler": Path(compiler.__file__).parent,
    "torch": Path(torch.__file__).parent,
    "yaml": Path(yaml.__file__).parent,
    "subprocess": Path(subprocess.__file__),
}
"""Ours, a compiled one, a plain one, and one of Python's own."""


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize("name", INSTALLED)
def test_both_files_are_named(tmp_path: Path, name: str) -> None:
    own = tmp_path / f"{name}.py"
    own.write_text("def make():\n    pass\n")
    found = shadow(name, [str(tmp_path)], sys.modules)
    assert found is not None
    assert found.text("beside the manifest") == (
        f"module {name!r} beside the manifest ({own}) is shadowed by the installed package {name} "
        f"at {INSTALLED[name].resolve()}"
    )
    with pytest.raises(ModelRefused) as caught:
        load_function(f"{name}:make", (str(tmp_path),))
    assert caught.value.code == "shadowed"
    assert f"module {name!r} on the search path ({own}) is shadowed" in caught.value.message
    assert caught.value.remedy == "rename it"


@pytest.mark.parametrize("init", [True, False])
def test_a_submodule_of_a_hidden_package(tmp_path: Path, init: bool) -> None:
    folder = tmp_path / "compiler"
    folder.mkdir()
    (folder / "models.py").write_text("def make():\n    pass\n")
    if init:
        (folder / "__init__.py").write_text("")
    found = shadow("compiler.models", [str(tmp_path)], sys.modules)
    assert found is not None
    assert (found.name, found.own) == ("compiler", str(folder))
    with pytest.raises(ModelRefused, match="module 'compiler' on the search path"):
        load_function("compiler.models:make", (str(tmp_path),))


def test_a_module_built_into_python(tmp_path: Path) -> None:
    (tmp_path / "time.py").write_text("")
    found = shadow("time", [str(tmp_path)], ())
    assert found is not None
    assert found.text("here").endswith("is shadowed by the module time that is built into Python")


@pytest.mark.parametrize("name", ["models_of_mine", "turtle"])
def test_no_false_alarm(tmp_path: Path, name: str) -> None:
    """A plain name, and one of Python's that nothing has imported: the user's own goes first."""
    assert name not in sys.modules
    (tmp_path / f"{name}.py").write_text("def make():\n    return 7\n")
    try:
        assert load_function(f"{name}:make", (str(tmp_path),))() == 7
        assert load_function(f"{name}:make", (str(tmp_path),))() == 7
    finally:
        sys.modules.pop(name, None)


def test_an_installed_module_without_one_of_the_user_s(tmp_path: Path) -> None:
    (tmp_path / "compiler").mkdir()
    (tmp_path / "compiler" / "notes.txt").write_text("")
    for module, folder in (
        ("compiler.recipes.decoder", tmp_path),
        ("yaml", tmp_path),
        ("nowhere", tmp_path),
        ("compiler.trace", ROOT),
    ):
        assert shadow(module, [str(folder)], sys.modules) is None


def test_a_package_that_the_loading_process_has_not_imported_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("")
    assert shadow("yaml", [str(tmp_path)], ("torch",)) is None


def test_a_folder_at_the_end_of_the_path_comes_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "last"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "twice_there.py").write_text("")
    last = str(tmp_path / "last")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), *sys.path, last])
    found = shadow("twice_there", [last], ())
    assert found is not None
    assert found.other == str(tmp_path / "first" / "twice_there.py")
