"""The library names every family of converters, and the files of the room import in one direction."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from compiler import convert
from compiler.convert.library import FAMILIES

FOLDER = Path(convert.__path__[0])
BELOW = {
    "schema": set(), "registry": {"schema"}, "refusals": {"registry"}, "short_sums": set(),
    "net": {"short_sums"}, "idioms": {"net", "idioms"},
    "ops": {"registry", "short_sums", "net", "idioms"},
    "linalg": {"registry", "net", "idioms", "linalg"},
    "special": {"registry", "net", "idioms"},
    "library": {"registry", "refusals"},
    "interpret": {"schema", "registry", "net"},
}  # fmt: skip
"""What each file or folder of the room may import from it. The library imports families by name."""


def imports_of(path: Path) -> Iterator[str]:
    """The files and folders of the room that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("compiler.convert"):
            parts = (node.module or "").split(".")[2:]
            yield from parts[:1] or [alias.name for alias in node.names]


def test_imports_go_in_one_direction() -> None:
    wrong = [
        f"{path.relative_to(FOLDER)} imports {found}"
        for path in sorted(FOLDER.rglob("*.py"))
        for found in imports_of(path)
        if found not in BELOW.get(path.relative_to(FOLDER).parts[0].removesuffix(".py"), {found})
    ]
    assert wrong == []


def test_every_table_is_in_the_library() -> None:
    found = {
        f"{path.parent.name}.{path.stem}"
        for path in FOLDER.glob("*/*.py")
        if "\nTABLE = " in path.read_text(encoding="utf-8")
    }
    assert found == set(FAMILIES.split())


def test_a_family_is_named_after_its_file() -> None:
    for name in FAMILIES.split():
        table = import_module(f"compiler.convert.{name}").TABLE
        assert table.family == name.partition(".")[2]
