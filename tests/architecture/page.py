"""Reads what docs/architecture.md states for tests to check: the fenced block under a heading."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"


def block(text: str, heading: str) -> dict[str, str]:
    """The first fenced block under `## heading`: each line's first word with the rest of the line.

    A line that begins with white space goes on where the one before it ended. ValueError where the
    page has no such heading or block.
    """
    _, found, section = text.partition(f"\n## {heading}\n")
    fences = section.partition("\n## ")[0].split("\n```")
    if not found or len(fences) < 3:
        raise ValueError(f"expected a fenced block under the heading {heading!r}, found none")
    entries: dict[str, str] = {}
    name = ""
    for line in fences[1].splitlines()[1:]:
        if line[:1].isspace():
            entries[name] += " " + line.strip()
        elif line:
            name, _, rest = line.partition(" ")
            entries[name] = rest.strip()
    return entries


def order(line: str) -> list[list[str]]:
    """`a, b < c` as [["a", "b"], ["c"]]."""
    return [[room.strip() for room in level.split(",")] for level in line.split("<")]
