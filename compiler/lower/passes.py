"""What a pass is: a rewrite of an exported program, with what it requires and ensures as code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch.export import ExportedProgram

from compiler.refused import Refused
from enginebundle.format.spec import PRECISIONS


class LowerRefused(Refused):
    """The program can't be lowered. Codes: `precision`, `decompose`, `invalid` (found after a pass)."""


@dataclass(frozen=True)
class LowerOptions:
    """What the passes may depend on."""

    keep: frozenset[str]
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise LowerRefused(
                "precision",
                f"precision {self.precision!r}: expected one of {', '.join(PRECISIONS)}",
                "correct the precision",
            )


Condition = Callable[[ExportedProgram, LowerOptions], str | None]
"""Returns None if the program meets it, else what is wrong and at which node. Changes nothing.
Its docstring states the condition in one line; its name identifies it in messages."""


@dataclass(frozen=True)
class Pass:
    """A rewrite of a program, which it may edit in place, and its contract.

    `requires` must hold before the pass runs, `ensures` once it has run and dead calls are removed
    (compiler/lower/contracts.py checks both). `reads` names the LowerOptions that the pass depends on:
    they are part of its spelling.
    """

    name: str
    requires: tuple[Condition, ...]
    ensures: tuple[Condition, ...]
    run: Callable[[ExportedProgram, LowerOptions], ExportedProgram]
    reads: tuple[str, ...] = ()

    def spell(self, options: LowerOptions) -> str:
        """`name`, or `name{option=value}`; sets sorted and joined with commas."""
        parts = []
        for name in self.reads:
            value = getattr(options, name)
            parts.append(f"{name}={value if isinstance(value, str) else ','.join(sorted(value))}")
        return f"{self.name}{{{' '.join(parts)}}}" if parts else self.name
