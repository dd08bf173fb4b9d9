"""What to swap in a model, and for what, as data; and the refusal of what can't be swapped."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from compiler.refused import Refused
from enginebundle.errors import FormatError

KINDS = ("module", "operator", "function")
WAYS = ("with", "converter", "plugin")
NEAR = 5
"""How many near matches an error names."""


class ReplaceRefused(Refused):
    """A replacement can't be made.

    Codes: `unknown_module`, `unknown_operator`, `unknown_function` (the pattern matches nothing),
    `factory`, `converter`, `function` (the user's code does not fit), `plugin`.
    """


@dataclass(frozen=True)
class Replacement:
    """What to swap (`kind` and `pattern`), and for what (`way` and `by`)."""

    kind: str
    pattern: str
    way: str
    by: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.way not in WAYS:
            raise FormatError(
                f"replacement of a {self.kind} by a {self.way}: expected one of {', '.join(KINDS)} "
                f"and one of {', '.join(WAYS)}"
            )
        if (self.kind, self.way) in (
            ("module", "converter"),
            ("module", "plugin"),
            ("function", "plugin"),
        ):
            raise FormatError(
                f"{self.kind} {self.pattern!r} takes no {self.way}: make it call a "
                "torch.library.custom_op, and give that operator the " + self.way
            )

    def __str__(self) -> str:
        return f"{self.kind} {self.pattern}"

    def to_json(self) -> dict[str, str]:
        return {self.kind: self.pattern, self.way: self.by}

    @classmethod
    def from_json(cls, value: Any) -> Replacement:
        """Read `{module|operator|function: pattern, with|converter|plugin: by}`; FormatError."""
        if isinstance(value, dict) and len(value) == 2:
            kind = next((name for name in KINDS if name in value), "")
            way = next((name for name in WAYS if name in value), "")
            if kind and way and all(isinstance(text, str) and text for text in value.values()):
                return cls(kind, value[kind], way, value[way])
        raise FormatError(
            f"replacement {value!r}: expected one of {', '.join(KINDS)} and one of "
            f"{', '.join(WAYS)}, both text"
        )


@dataclass(frozen=True)
class Replaced:
    """One replacement that was made. `places`: the modules' paths, or the operators' node names."""

    replacement: Replacement
    places: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return self.replacement.to_json() | {"places": list(self.places)}


def nothing(what: str, replacement: Replacement, known: set[str]) -> ReplaceRefused:
    """The refusal of a pattern that matches none of the known names; it lists near ones."""
    pattern = replacement.pattern
    lowered = {name.lower(): name for name in sorted(known)}
    near = [lowered[n] for n in difflib.get_close_matches(pattern.lower(), lowered, NEAR, 0.5)]
    bare = pattern.strip("*.").removesuffix(".default").rpartition(".")[2].lower()
    near += [n for n in sorted(known) if bare and bare in n.lower() and n not in near]
    listed = ", ".join((near or sorted(known))[:NEAR])
    return ReplaceRefused(
        f"unknown_{what}",
        f"replace: expected {pattern!r} to match some {what} of the model, it matches none",
        f"near matches: {listed}" if near else f"the model has: {listed or 'none'}",
    )
