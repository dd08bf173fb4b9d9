"""The code that is in an engine's key: all that can change its bytes, file by file."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

import compiler
from compiler.build.engine_cache import _CODE, code_digest

PACKAGE = Path(compiler.__file__).parent
LEFT_OUT = {
    "build/apart.py": "the process in which the builder runs",
    "build/progress.py": "listens while TensorRT works",
    "build/replay.py": "checks a finished build against another; refuses, and changes nothing",
    "build/tactics.py": "reads from TensorRT what it chose",
    "build/timing_cache.py": "how fast tactics were before: the first result wins, and it is kept beside it",
    "refused.py": "an exception",
    "convert/schema.py": "reads an operator's schema: shapes networks, whose every layer is in the key",
}
"""Modules that the builders and the emitter import and that the key leaves out, each with the reason."""


def covered(name: str) -> bool:
    return any(name == one or name.startswith(f"{one}/") for one in _CODE)


def imported(name: str) -> set[str]:
    """The modules of `compiler` that a module imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("compiler."):
            base = node.module.removeprefix("compiler.").replace(".", "/")
            choices = [f"{base}.py", *(f"{base}/{alias.name}.py" for alias in node.names)]
            found |= {choice for choice in choices if (PACKAGE / choice).is_file()}
    return found


def test_whatever_builders_and_plugins_import_is_in_the_key_or_left_out_for_a_reason() -> None:
    left = {
        "build/builder.py",
        "build/tensorrt.py",
        "build/tensorrt_rtx.py",
        "convert/plugin.py",
        "network/emit.py",
    }
    seen: set[str] = set()
    while left:
        name = left.pop()
        seen.add(name)
        left |= imported(name) - seen
    assert {name for name in seen if not covered(name)} <= LEFT_OUT.keys()


@pytest.mark.parametrize(
    "name",
    [
        "build/aids.py", "build/builder.py", "build/compatibility.py", "build/effort.py", "build/tensorrt.py",
        "build/tensorrt_rtx.py", "convert/plugin.py", "network/emit.py", "network/older.py", "network/recorder.py",
        "network/kinds/shapes.py", "network/kinds/plugin.py",
    ],
)  # fmt: skip
def test_another_line_in_any_of_these_files_is_another_key(name: str, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "compiler")
    before = code_digest(tmp_path / "compiler")
    assert before == code_digest(PACKAGE)
    with (tmp_path / "compiler" / name).open("a") as file:
        file.write("\n# changed\n")
    assert code_digest(tmp_path / "compiler") != before


def test_other_code_changes_no_engine(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "compiler")
    for name in ("trace/export.py", "goldens/goldens.py", "partition/grow.py"):
        (tmp_path / "compiler" / name).write_text("")
    assert code_digest(tmp_path / "compiler") == code_digest(PACKAGE)
