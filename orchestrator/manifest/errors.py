"""Everything that is wrong with a manifest, reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: where it is (line and column count from 1; 0 if unknown) and what to do about it."""

    line: int
    column: int
    path: str
    message: str

    def show(self, file: str) -> str:
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ManifestError(Exception):
    """A manifest that cannot be planned. Its text lists every problem, one on each line."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(set(problems)))
        count = f"{len(self.problems)} error{'' if len(self.problems) == 1 else 's'}"
        lines = [f"manifest {file} has {count}:"]
        lines += [f"  {problem.show(file)}" for problem in self.problems]
        super().__init__("\n".join(lines))


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` if a known word is close, else the list of known words."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; expected one of {', '.join(known)}" if known else ""
