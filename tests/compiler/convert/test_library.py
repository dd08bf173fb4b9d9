"""The library names every family of converters."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from compiler import convert
from compiler.convert.library import FAMILIES


def test_every_table_is_in_the_library() -> None:
    folder = Path(convert.__path__[0])
    found = {
        f"{path.parent.name}.{path.stem}"
        for path in folder.glob("*/*.py")
        if "\nTABLE = " in path.read_text(encoding="utf-8")
    }
    assert found == set(FAMILIES.split())


def test_a_family_is_named_after_its_file() -> None:
    for name in FAMILIES.split():
        table = import_module(f"compiler.convert.{name}").TABLE
        assert table.family == name.partition(".")[2]
