"""What a pybind module offers, read from its docstrings: run as a program, it prints JSON.

python tests/contract/signatures.py tensorrt_rtx
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

Signatures = dict[str, dict[str, list[str]]]
"""Class -> member -> signatures: a method's overloads, a property's types, an enum member's value."""

_PREFIX = re.compile(r"\b(tensorrt|tensorrt_rtx)_bindings\.(tensorrt|tensorrt_rtx)\.")
_SPELLINGS = (
    (re.compile(r"\btyping\.SupportsInt( \| typing\.SupportsIndex)?"), "int"),
    (re.compile(r"\btyping\.SupportsFloat( \| typing\.SupportsIndex)?"), "float"),
    (re.compile(r"\bcollections\.abc\.(Sequence|Iterable|Mapping|Callable|Buffer)\b"), r"\1"),
    (re.compile(r"\btyping\.(?=[A-Z])"), ""),
    (re.compile(r"\b(?:[Ll]ist|Sequence)\["), "List["),
    (re.compile(r"\b[Tt]uple\["), "Tuple["),
    (re.compile(r"\bdict\["), "Dict["),
    (re.compile(r"\b[bB]uffer\b"), "buffer"),
)
"""What versions of pybind11 call the same types: bindings are made with several."""
_OVERLOAD = re.compile(r"^(?:\d+\. )?(\w+\(.*\) -> .*)$", re.MULTILINE)


def signatures(module: ModuleType) -> Signatures:
    """Every class of a module, nested ones as `Outer.Inner`. Names of modules are left out."""
    found: Signatures = {}
    waiting = [(name, value) for name, value in vars(module).items() if isinstance(value, type)]
    while waiting:
        name, owner = waiting.pop()
        found[name] = _members(owner)
        inner = [(f"{name}.{n}", v) for n, v in vars(owner).items() if isinstance(v, type)]
        waiting += [(n, v) for n, v in inner if n not in found]
    return dict(sorted(found.items()))


def _members(owner: type) -> dict[str, list[str]]:
    values: dict[str, Any] = getattr(owner, "__members__", {})
    if values:
        return {name: [str(int(value))] for name, value in values.items()}
    found: dict[str, list[str]] = {}
    for base in reversed(owner.__mro__[:-1]):  # inherited members too, without object's
        for name, value in vars(base).items():
            if isinstance(value, property):
                found[name] = _property(value)
            elif (callable(value) or isinstance(value, staticmethod)) and value.__doc__:
                found[name] = [_clean(line) for line in _OVERLOAD.findall(value.__doc__)]
    return {name: lines for name, lines in sorted(found.items()) if lines}


def _property(value: property) -> list[str]:
    parts = []
    for word, function in (("get", value.fget), ("set", value.fset)):
        if function is not None:
            lines = (function.__doc__ or "").strip().splitlines() or ["?"]
            parts.append(f"{word} {_clean(lines[0])}")
    return parts


def _clean(line: str) -> str:
    line = _PREFIX.sub("", line).strip()
    for spelling, common in _SPELLINGS:
        line = spelling.sub(common, line)
    return line


@dataclass(frozen=True)
class Signature:
    """One overload, parsed. `names` are the parameters after self, `required` of them needed;
    `types` are theirs, `object` where the line gives none."""

    names: tuple[str, ...]
    required: int
    variadic: bool
    result: str
    types: tuple[str, ...] = ()

    @classmethod
    def parse(cls, line: str) -> Signature:
        head, _, result = line.rpartition(" -> ")
        parameters = _split(head[head.index("(") + 1 : -1])
        plain = [p for p in parameters if not p.startswith("*")]
        named = [p for p in plain if p.partition(":")[0].strip() != "self"]
        required = sum("=" not in re.sub(r"<[^>]*>", "", p) for p in named)
        return cls(
            tuple(p.partition(":")[0].partition("=")[0].strip() for p in named),
            required,
            len(plain) < len(parameters),
            result.strip(),
            tuple(p.partition(":")[2].partition(" = ")[0].strip() or "object" for p in named),
        )

    def accepts(self, positional: int, keywords: tuple[str, ...]) -> bool:
        """Whether a call with so many positional and these keyword arguments binds."""
        if self.variadic:
            return True
        taken = self.names[:positional]
        needed = set(self.names[: self.required]) - set(taken)
        return (
            positional <= len(self.names)
            and set(keywords) <= set(self.names) - set(taken)
            and needed <= set(keywords)
        )


def _split(text: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += character in "[(<{"
        depth -= character in "])>}"
        if character == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


if __name__ == "__main__":
    json.dump(signatures(importlib.import_module(sys.argv[1])), sys.stdout)
