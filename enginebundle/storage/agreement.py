"""Let the first writer win on storage that can only put, get and list.

pyarrow's object stores have no "create unless it exists": `open_output_stream` always overwrites.
Plain reads and writes still suffice for agreement if the number of steps need not be bounded: this
is Disk Paxos (Gafni and Lamport, 2003) with the object store as its one disk.

Safety, always: no interleaving, pause, crash or repeated request makes two callers see different
contents.
Progress, once contention pauses: competing proposers back off at random until one gets through.
Requirement: a get or list that starts after a put has ended sees that put (S3, GCS and MinIO promise
this).

Each proposer writes numbered notes. Each note has its own key, which is never rewritten, so a put
that a client library repeats late can't bring back an old note.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from enginebundle.errors import FormatError
from enginebundle.format.digest import canonical_json, parse_json

FOLDER = "agreements"
"""Notes about `path` are in `agreements/<path>/`. They are kept: a slow proposer may still read them."""

Ballot = tuple[int, str]
"""A round and the proposer's identity, ordered; no two proposers share one."""


class Registers(Protocol):
    """Strongly consistent put, get and list."""

    def get(self, path: str) -> bytes | None: ...
    def put(self, path: str, data: bytes | memoryview) -> None: ...
    def children(self, folder: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Note:
    """A proposer's latest state: its ballot, and the ballot at which it accepted `value`, if it did."""

    ballot: Ballot
    accepted: Ballot | None
    value: str

    def to_bytes(self) -> bytes:
        accepted = list(self.accepted) if self.accepted else None
        return canonical_json(
            {"ballot": list(self.ballot), "accepted": accepted, "value": self.value}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Note:
        try:
            value: Any = parse_json(data)
            accepted = value["accepted"]
            return cls(
                (int(value["ballot"][0]), str(value["ballot"][1])),
                None if accepted is None else (int(accepted[0]), str(accepted[1])),
                str(value["value"]),
            )
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise FormatError(f"agreement note is damaged: {error!r}") from error


def agree(
    registers: Registers,
    path: str,
    value: bytes,
    *,
    proposer: str | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> bytes:
    """The content that every caller for `path` gets: `value` (UTF-8 text) or another caller's value.

    It is written to `path` before this returns. `proposer` must be unique to this call.
    """
    me = proposer or uuid.uuid4().hex
    mine = Note((0, me), None, value.decode())
    written = 0
    attempt = 0
    while True:
        if (decided := registers.get(path)) is not None:
            return decided
        mine = Note((mine.ballot[0] + 1, me), mine.accepted, mine.value)
        written = _write(registers, path, me, written, mine)
        others = _others(registers, path, me)
        if not _overtaken(mine, others):
            # If a value may already have been chosen, it is the one accepted at the highest ballot.
            seen = [note for note in (*others, mine) if note.accepted is not None]
            newest = max(seen, key=lambda note: note.accepted or (0, "")) if seen else mine
            mine = Note(mine.ballot, mine.ballot, newest.value)
            written = _write(registers, path, me, written, mine)
            others = _others(registers, path, me)
            if not _overtaken(mine, others):
                registers.put(path, mine.value.encode())
                return mine.value.encode()
        highest = max(note.ballot[0] for note in others)
        mine = Note((highest, me), mine.accepted, mine.value)
        pause(random.uniform(0, min(2.0, 0.02 * 2**attempt)))
        attempt += 1


def _overtaken(mine: Note, others: list[Note]) -> bool:
    return any(note.ballot > mine.ballot for note in others)


def _write(registers: Registers, path: str, me: str, written: int, note: Note) -> int:
    registers.put(f"{FOLDER}/{path}/{me}.{written:08d}", note.to_bytes())
    return written + 1


def _others(registers: Registers, path: str, me: str) -> list[Note]:
    """The latest note of every other proposer."""
    latest: dict[str, str] = {}
    for name in registers.children(f"{FOLDER}/{path}"):
        proposer = name.rpartition(".")[0]
        if proposer != me:
            latest[proposer] = max(name, latest.get(proposer, ""))
    notes = [registers.get(f"{FOLDER}/{path}/{name}") for name in latest.values()]
    return [Note.from_bytes(data) for data in notes if data is not None]
