"""What a manifest says about goldens, as values. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.trace.source import JSON
from enginebundle.format.parse import fields

ANY_OUTPUT = "*"
"""The name under which a tolerance is given for every output that has none of its own."""
DRAWING = 2
"""Counts the ways in which inputs were drawn from a seed: part of the key of what was drawn."""


@dataclass(frozen=True, slots=True)
class GoldenSource:
    """Exactly one of `entrypoint` (with `kwargs`), `file` (safetensors or Parquet) and `seed`.

    With a seed, `cases` inputs are drawn for each profile: one at min, one at opt, one at max, one at odd
    sizes between min and opt and one between opt and max, as far as there are any, then min again; if None,
    one of each. `high` maps an integer input to its exclusive bound.
    """

    entrypoint: str | None = None
    kwargs: tuple[tuple[str, JSON], ...] = ()
    file: str | None = None
    seed: int | None = None
    cases: int | None = None
    high: tuple[tuple[str, int], ...] = ()

    @property
    def drawn(self) -> bool:
        """Whether inputs are drawn, rather than given."""
        return self.seed is not None

    def to_json(self) -> dict[str, JSON]:
        return {
            "entrypoint": self.entrypoint,
            "kwargs": dict(self.kwargs),
            "file": self.file,
            "seed": self.seed,
            "cases": self.cases,
            "high": dict(self.high),
        }

    @classmethod
    def from_json(cls, value: JSON) -> GoldenSource:
        """The inverse of `to_json`; missing fields take their defaults. FormatError for unknown ones."""
        names = ("entrypoint", "kwargs", "file", "seed", "cases", "high")
        value = fields(value, "goldens", (), names)
        return cls(
            value.get("entrypoint"),
            tuple((value.get("kwargs") or {}).items()),
            value.get("file"),
            value.get("seed"),
            value.get("cases"),
            tuple((value.get("high") or {}).items()),
        )
