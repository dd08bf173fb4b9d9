"""The committed results: the state of each sample in the last complete run.

    benchmarks/results/opinfo.json: operators -> dtype -> state -> samples, or reason -> samples

Samples are written as ranges of their indices among the operator's samples: "0-3 7".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER, circumstances

PATH = FOLDER / "opinfo.json"
WHOLE = ("converted", "decomposed", "cut", "constant")
"""The states of samples that are one engine."""
STATES = (*WHOLE, "torch", "excluded", "wrong")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """The samples of one operator and dtype that share a state and a reason."""

    op: str
    dtype: str
    state: str
    reason: str
    places: tuple[int, ...]


def write(rows: Iterable[Row], limits: Mapping[str, int | None], path: Path = PATH) -> None:
    """Write a run's rows, one line per operator."""
    table: dict[str, dict[str, dict[str, dict[str, list[int]]]]] = {}
    for row in rows:
        op, dtype, place = row["sample"].rsplit("/", 2)
        states = table.setdefault(op, {}).setdefault(dtype, {})
        reasons = states.setdefault(row["state"], {})
        reasons.setdefault(_general(row["reason"]), []).append(int(place))
    lines = [
        f"{json.dumps(op)}: {json.dumps(_spelled(table[op]), sort_keys=True)}"
        for op in sorted(table)
    ]
    head = json.dumps({"samples_of_an_operator": dict(limits), **circumstances()}, indent=1)
    body = ",\n  ".join(lines)
    path.write_text(f'{head[:-2]},\n "operators": {{\n  {body}\n }}\n}}\n')


def _general(reason: str) -> str:
    """A reason without what is specific to a sample or machine: files, names of values."""
    reason = re.sub(
        r" at \S*samples\.py:\d+( in forward: `[^`]*`| \(module root: Call\))", "", reason
    )
    reason = re.sub(r" \([a-z_]\w*(\.\d+)?\)$", "", reason)
    return " ".join(reason.split())[:160]


def _spelled(dtypes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        dtype: {
            state: {reason: ranges(places) for reason, places in reasons.items()}
            for state, reasons in states.items()
        }
        for dtype, states in dtypes.items()
    }


def read(path: Path = PATH) -> dict[str, Any]:
    """The file's contents: `operators`, `samples_of_an_operator`, versions, machine and date."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def groups(record: Mapping[str, Any]) -> Iterator[Group]:
    """Everything in the record, in order."""
    for op, dtypes in record["operators"].items():
        for dtype, states in dtypes.items():
            for state, reasons in states.items():
                for reason, places in reasons.items():
                    yield Group(op, dtype, state, reason, tuple(unranged(places)))


def worse(row: Row, states: Mapping[str, str]) -> str:
    """How a sample is worse than in `states` (sample -> state), or an empty text."""
    was = states.get(row["sample"], "not on record")
    if row["state"] == "wrong":
        return f"{row['sample']}: wrong: {row['reason']}"
    if was in WHOLE and row["state"] not in WHOLE:
        return f"{row['sample']}: was {was}, is {row['state']}: {row['reason']}"
    return ""


def ranges(places: Iterable[int]) -> str:
    """[0, 1, 2, 7] -> "0-2 7"."""
    runs: list[list[int]] = []
    for place in sorted(places):
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return " ".join(f"{a}-{b}" if a != b else str(a) for a, b in runs)


def unranged(text: str) -> Iterator[int]:
    for run in text.split():
        first, _, last = run.partition("-")
        yield from range(int(first), int(last or first) + 1)
