"""The sources of some packages under one root, and every import in them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

When = Literal["import", "call", "typing"]
"""When an import runs: with its file, when a function is called, or for a type checker only."""


@dataclass(frozen=True)
class Import:
    """One import: in which module and file, at which line, of what, and when it runs."""

    module: str
    file: str
    line: int
    name: str
    when: When

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.name}"


@dataclass(frozen=True)
class Tree:
    """Packages in a folder. Tests make small ones up; the real one is the repository's root."""

    root: Path
    packages: tuple[str, ...]

    @cached_property
    def files(self) -> tuple[Path, ...]:
        return tuple(p for name in self.packages for p in sorted((self.root / name).rglob("*.py")))

    @cached_property
    def modules(self) -> dict[str, Path]:
        """Every module by its dotted name; a package's name stands for its `__init__`."""
        return {self._module(path): path for path in self.files}

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(found for name in self.modules for found in self._imports(name))

    def of(self, package: str) -> tuple[Import, ...]:
        return tuple(i for i in self.imports if i.module.partition(".")[0] == package)

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def parsed(self, path: Path) -> ast.Module:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))

    def resolve(self, name: str) -> str | None:
        """The module that `name` names or is a part of: `a.b.f` is in `a.b` where there is no such
        module as `a.b.f`. None for what is not in this tree."""
        while name and name not in self.modules:
            name = name.rpartition(".")[0]
        return name or None

    def _module(self, path: Path) -> str:
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _imports(self, module: str) -> Iterator[Import]:
        """Every import statement, and every call of import_module or __import__ whose argument
        begins with literal text."""
        path = self.modules[module]
        file = self.name(path)
        package = path.relative_to(self.root).parent.parts
        stack: list[tuple[ast.AST, When]] = [(self.parsed(path), "import")]
        while stack:
            node, when = stack.pop()
            for name in _names(node, package):
                yield Import(module, file, getattr(node, "lineno", 0), name, when)
            for child in ast.iter_child_nodes(node):
                stack.append((child, _when(node, child, when)))


def _names(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = [node.module] if node.module else []
        if node.level:
            base = [*package[: len(package) - node.level + 1], *base]
        # `from a import b` may import the module a.b.
        yield from (".".join([*base, alias.name]) for alias in node.names)
    elif isinstance(node, ast.Call) and last_name(node.func) in ("import_module", "__import__"):
        for argument in node.args[:1]:
            if isinstance(argument, ast.JoinedStr) and argument.values:
                argument = argument.values[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value.rstrip(".")


def _when(node: ast.AST, child: ast.AST, when: When) -> When:
    if isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING" and child in node.body:
        return "typing"
    inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    return "call" if inside and when == "import" else when


def last_name(node: ast.expr) -> str:
    """`c` of `a.b.c`, `a` of `a`; empty for anything else."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
