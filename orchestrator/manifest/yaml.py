"""Reads YAML text into plain values that know where they were written.

The dialect is that of YAML 1.2's core schema: `no` and `on` are words, `1e-3` is a number, `10:30`
is text. Errors, where YAML is silent: duplicate keys, keys that are not text, merge keys, tags,
and aliases without bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from orchestrator.manifest.errors import Problem

MAX_BYTES = 4 << 20
MAX_VALUES = 1_000_000
"""Counted after aliases are expanded: a few lines of nested aliases can make billions of values."""

Value = "dict[str, Located] | list[Located] | str | int | float | bool | None"


@dataclass(frozen=True, slots=True)
class Located:
    """A value, where it was written, and its path in the document: `models[2].inputs.image`."""

    value: Any
    """dict[str, Located], list[Located] or a scalar."""
    line: int
    column: int
    path: str
    keys: tuple[tuple[str, tuple[int, int]], ...] = ()
    """Of a map: where each key was written."""

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def problem(self, message: str) -> Problem:
        return Problem(self.line, self.column, self.path, message)

    def key_problem(self, key: str, message: str) -> Problem:
        """A problem with one of a map's keys."""
        line, column = dict(self.keys).get(key, (self.line, self.column))
        return Problem(line, column, join(self.path, key), message)


def join(path: str, key: str | int) -> str:
    """The path of an item of the value at `path`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


class _Loader(yaml.SafeLoader):
    """SafeLoader's parser with the scalars of the core schema."""


_Loader.yaml_implicit_resolvers = {}
_TAG = "tag:yaml.org,2002:"
for _kind, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), list(_first))


class _Stop(Exception):
    """The text cannot be read any further."""


def parse(text: str) -> tuple[Located | None, list[Problem]]:
    """Read one document. The value is None, with at least one problem, if the text is not YAML."""
    if len(text) > MAX_BYTES:
        return None, [Problem(0, 0, "", f"{len(text)} characters; at most {MAX_BYTES} are allowed")]
    problems: list[Problem] = []
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            return None, [Problem(0, 0, "", "the file is empty; expected a map with `models:`")]
        return _Reader(problems).read(node, "", ()), problems
    except yaml.YAMLError as error:
        return None, [*problems, _syntax(error)]
    except RecursionError:
        return None, [*problems, Problem(0, 0, "", "nested too deeply for a manifest")]
    except _Stop as stop:
        return None, [*problems, Problem(0, 0, "", str(stop))]


def _syntax(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    return Problem(line, column, "", f"not YAML: {what}")


class _Reader:
    """Turns nodes into located values, collecting problems."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.left = MAX_VALUES

    def read(self, node: yaml.Node, path: str, above: tuple[int, ...]) -> Located:
        self.left -= 1
        if self.left < 0:
            raise _Stop(f"aliases expand to more than {MAX_VALUES} values")
        if id(node) in above:
            raise _Stop(f"{path}: an alias inside the value that it refers to")
        above = (*above, id(node))
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        match node:
            case yaml.MappingNode():
                items = {key: (at, child) for key, at, child in self._keys(node, path)}
                value: Any = {k: self.read(c, join(path, k), above) for k, (_, c) in items.items()}
                places = tuple((key, at) for key, (at, _) in items.items())
                return Located(value, line, column, path, places)
            case yaml.SequenceNode():
                value = [self.read(c, join(path, i), above) for i, c in enumerate(node.value)]
            case _:
                value = self._scalar(node, path)
        return Located(value, line, column, path)

    def _keys(
        self, node: yaml.MappingNode, path: str
    ) -> Iterator[tuple[str, tuple[int, int], yaml.Node]]:
        seen: dict[str, int] = {}
        for key, child in node.value:
            at = (key.start_mark.line + 1, key.start_mark.column + 1)
            if key.tag != _TAG + "str":
                message = f"a key must be text, got {_spell(key)}; put it in quotes"
                self.problems.append(Problem(*at, path, message))
            elif key.value == "<<":
                message = "YAML merge keys are not supported; put shared settings under `defaults:`"
                self.problems.append(Problem(*at, join(path, "<<"), message))
            elif key.value in seen:
                message = f"this key is already on line {seen[key.value]}; keep one of the two"
                self.problems.append(Problem(*at, join(path, key.value), message))
            else:
                seen[key.value] = at[0]
                yield key.value, at, child

    def _scalar(self, node: yaml.Node, path: str) -> Any:
        text = str(node.value)
        match node.tag.removeprefix(_TAG):
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" if len(text) <= 100:
                return int(text)
            case "float" if "n" not in text.lower():
                return float(text)
        message = f"{_spell(node)} is not supported; expected text, a finite number, true or false"
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        self.problems.append(Problem(line, column, path, message))
        return None


def _spell(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return "a list or map"
    short = node.tag.removeprefix(_TAG)
    tag = "" if short in ("str", "int", "float", "bool", "null") else f"{node.tag} "
    return f"{tag}{node.value[:40]!r}" if tag else node.value[:40]
