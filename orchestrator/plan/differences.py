"""Why two results are not the same: the fields in which their identities differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "(absent)"
"""Shown as the value of a field that one side does not have."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field's path, such as `spec.toolchain.distributions.torch`, and its value on each side."""

    path: str
    a: Any
    b: Any

    def __str__(self) -> str:
        return f"{self.path}: {self.a!r} -> {self.b!r}"

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "a": self.a, "b": self.b}


def differences(a: Any, b: Any) -> list[Difference]:
    """The innermost fields in which two JSON values differ, in the order of their paths."""
    return list(_walk(a, b, ""))


def _walk(a: Any, b: Any, path: str) -> Iterator[Difference]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name in sorted(a.keys() | b.keys()):
            yield from _walk(a.get(name, _NOTHING), b.get(name, _NOTHING), _join(path, name))
    elif isinstance(a, list) and isinstance(b, list):
        for index in range(max(len(a), len(b))):
            left = a[index] if index < len(a) else _NOTHING
            right = b[index] if index < len(b) else _NOTHING
            yield from _walk(left, right, f"{path}[{index}]")
    elif type(a) is not type(b) or a != b:
        yield Difference(path, _shown(a), _shown(b))


def _join(path: str, name: str) -> str:
    # Names of tasks and files contain dots and slashes; brackets keep a path readable.
    if not name.replace("_", "").replace("-", "").isalnum():
        return f"{path}[{name!r}]"
    return f"{path}.{name}" if path else name


class _Nothing:
    """A field that is absent, which is not the same as null."""


_NOTHING = _Nothing()


def _shown(value: Any) -> Any:
    return ABSENT if isinstance(value, _Nothing) else value
