"""What our sources say to TensorRT: names, words and calls, read from their syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Call:
    """`x.method(...)`: how many positional arguments (None if starred) and which keywords."""

    where: str
    method: str
    positional: int | None
    keywords: tuple[str, ...]


@dataclass
class Usage:
    """All attribute names, those that are assigned to, string constants, and method calls."""

    names: set[str] = field(default_factory=set)
    assigned: dict[str, str] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)

    @property
    def mentioned(self) -> set[str]:
        """Names, and words that `getattr` may turn into names: `add_<word>` and `add_<word>_nd`."""
        made = {f"add_{word}{end}" for word in self.words for end in ("", "_nd")}
        return self.names | self.words | made


def usage(paths: Iterable[Path], emitting: bool = False) -> Usage:
    """Read files. Attributes of `self` are our own and left out.

    With `emitting`, a file of layer kinds is read only where it handles an emitter or TensorRT's layer.
    """
    found = Usage()
    for path in sorted(paths):
        for node in _nodes(path, emitting):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Attribute) and not _own(node):
                found.names.add(node.attr)
                if isinstance(node.ctx, ast.Store):
                    found.assigned[node.attr] = where
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.words.add(node.value)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                starred = any(isinstance(a, ast.Starred) for a in node.args)
                starred = starred or any(k.arg is None for k in node.keywords)
                keywords = tuple(k.arg for k in node.keywords if k.arg)
                count = None if starred else len(node.args)
                if not _own(node.func):
                    found.calls.append(Call(where, node.func.attr, count, keywords))
    return found


def _nodes(path: Path, emitting: bool) -> Iterator[ast.AST]:
    tree = ast.parse(path.read_text())
    if not emitting or path.parent.name != "kinds":
        yield from ast.walk(tree)
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and {"e", "added"} & {a.arg for a in node.args.args}:
            yield from ast.walk(node)


def _own(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"
