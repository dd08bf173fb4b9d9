"""Where a model comes from, as a value. Imports no torch, so that a manifest can hold it.

Source(entrypoint="package.module:function", kwargs=(("size", 8),), search_path=("./models",))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from enginebundle.format.parse import fields

JSON = Any
"""A value that JSON can represent."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model comes from: an `entrypoint` with keyword arguments, or a `.pt2` program file.

    The folders of `search_path` are put at the front of `sys.path` to import the entrypoint, and left there.
    `trusted` allows a program file to be opened: it can carry pickled objects, and so run any code.
    """

    entrypoint: str | None = None
    program: str | None = None
    kwargs: tuple[tuple[str, JSON], ...] = ()
    search_path: tuple[str, ...] = ()
    trusted: bool = False

    def to_json(self) -> dict[str, JSON]:
        return {
            "entrypoint": self.entrypoint,
            "program": self.program,
            "kwargs": dict(self.kwargs),
            "search_path": list(self.search_path),
            "trusted": self.trusted,
        }

    @classmethod
    def from_json(cls, value: JSON) -> Source:
        """The inverse of `to_json`; FormatError on anything unexpected."""
        names = ("entrypoint", "program", "kwargs", "search_path", "trusted")
        value = fields(value, "source", names)
        return cls(
            value["entrypoint"],
            value["program"],
            tuple(value["kwargs"].items()),
            tuple(value["search_path"]),
            value["trusted"],
        )
