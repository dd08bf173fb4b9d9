"""Mark and sweep: what no version, alias, evidence, usable result or running run reaches may go.

Reached are the blobs that a version's record and index name, and those of evidence and of the latest timing
caches; the results that made these versions, with everything that they name; every result whose blobs are
all reached; the lists of inputs that lead to a result or to a known failure; and whatever was written or
used within a time of grace. While a run is alive, every result is kept, since it may be about to use any of
them. Versions, aliases, evidence and the records of runs always stay.

A document's digests are found in its text, whatever it means: what a later version of the farm adds to one
is reached, too.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from enginebundle.errors import FormatError, NotFoundError
from enginebundle.format.digest import PREFIX, Digest
from enginebundle.storage.base import TEMPORARY, Entry
from enginebundle.storage.leases import SWEEP
from enginebundle.storage.store import Store
from orchestrator.keep.alive import runs_alive, sweeping
from orchestrator.keep.results import blobs
from orchestrator.plan.inputs import lists as inputs

_LOG = logging.getLogger(__name__)
_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")
DAY = 86400.0


@dataclass(frozen=True)
class Swept:
    """What went, or would go: entries in the order of removal. `kept` counts the blobs that stay."""

    entries: tuple[Entry, ...]
    kept: int
    runs: int

    @property
    def bytes(self) -> int:
        return sum(entry.size for entry in self.entries)


def collect(store: Store, *, dry_run: bool = False, grace: float = DAY) -> Swept:
    """Remove what nothing reaches and what was not used for `grace` seconds; `dry_run` removes nothing.

    Raises ConflictError if another sweep goes on, IntegrityError if an index is damaged.
    """
    if dry_run:
        return _plan(store, time.time() - grace)
    with sweeping(store):
        (lease,) = [entry for entry in store.storage.entries("leases") if entry.path == SWEEP]
        found = _plan(store, lease.modified - grace)  # by the clock of the storage
        for folder, entries in _by_folder(found.entries):
            fresh = {e.path: e.modified for e in store.storage.entries(folder)}
            for entry in entries:
                # One that was used meanwhile stays.
                if fresh.get(entry.path) == entry.modified:
                    store.storage.remove(entry.path)
    return found


def _by_folder(entries: Iterable[Entry]) -> Iterable[tuple[str, list[Entry]]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.path.rpartition("/")[0], []).append(entry)
    return found.items()


@dataclass
class _Marks:
    """The digests that are reached."""

    store: Store
    digests: set[Digest] = field(default_factory=set)

    def text(self, data: bytes | None) -> None:
        self.digests |= {found.decode() for found in _DIGEST.findall(data or b"")}


def _plan(store: Store, old: float) -> Swept:
    storage = store.storage
    runs = runs_alive(store)
    # Blobs are listed first: one that appears later belongs to somebody who is at work now.
    all_blobs = storage.entries("blobs")
    lists = storage.entries(inputs.FOLDER)
    results = storage.entries("results")
    marks = _Marks(store)
    versions = _versions(marks)
    timings = _timings(marks)
    kept, wanted = _results(marks, results, versions, old, everything=bool(runs))
    wanted |= _failures(store)
    gone = [entry for entry in results if entry.path not in kept and entry.modified < old]
    gone += [e for e in lists if not _leads(e, wanted) and e.modified < old]
    gone += [entry for entry in timings if entry.modified < old]
    # Agreements are notes of versions of this farm that had no conditional writes.
    for folder in ("damaged", "agreements"):
        gone += [entry for entry in storage.entries(folder) if entry.modified < old]
    left = [
        entry
        for entry in all_blobs
        if PREFIX + entry.path.rpartition("/")[2] not in marks.digests and entry.modified < old
    ]
    gone += left
    for folder in ("bundles", "runs", "leases", "failures", "earlier"):
        gone += [e for e in storage.entries(folder) if _unfinished(e) and e.modified < old]
    return Swept(tuple(gone), len(all_blobs) - len(left), len(runs))


def _unfinished(entry: Entry) -> bool:
    return entry.path.rpartition("/")[2].startswith(TEMPORARY)


def _versions(marks: _Marks) -> set[Digest]:
    """Mark what published documents name. Returns the digests of the indexes."""
    found = set()
    for entry in marks.store.storage.entries("bundles"):
        if _unfinished(entry):
            continue
        data = marks.store.storage.get(entry.path)
        marks.text(data)
        if "/versions/" in entry.path:
            found |= {one.decode() for one in _DIGEST.findall(data or b"")}
    for digest in found:
        try:
            marks.text(marks.store.read_blob(digest))
        except NotFoundError as error:
            _LOG.warning("%s; `kiln store verify --repair` makes it again", error)
    return found


def _timings(marks: _Marks) -> list[Entry]:
    """Mark the latest timing cache of each key. Returns the records of the earlier ones."""
    latest: dict[str, tuple[int, Entry]] = {}
    earlier = []
    for entry in marks.store.storage.entries("timing"):
        folder, _, name = entry.path.rpartition("/")
        stem = name.removesuffix(".json")
        if not stem.isdigit():
            continue
        known = latest.get(folder)
        if known is None or int(stem) > known[0]:
            latest[folder] = (int(stem), entry)
            earlier += [] if known is None else [known[1]]
        else:
            earlier.append(entry)
    for _, entry in latest.values():
        marks.text(marks.store.storage.get(entry.path))
    return earlier


def _results(
    marks: _Marks, entries: Iterable[Entry], versions: set[Digest], old: float, *, everything: bool
) -> tuple[set[str], set[str]]:
    """Mark what results name that stay. Returns their paths, and those of the lists that lead to them."""
    kept: set[str] = set()
    lists: set[str] = set()
    waiting: dict[str, tuple[bytes, set[Digest]]] = {}
    for entry in entries:
        data = marks.store.storage.get(entry.path) or b""
        output = _output(data)
        if output is None:
            continue
        named = {digest for digest, _ in blobs(output)}
        # What published a version, or validated it, names its index.
        its = not versions.isdisjoint(found.decode() for found in _DIGEST.findall(data))
        if everything or entry.modified >= old or not named or its:
            kept.add(entry.path)
            lists.add(_list_of(marks.store, data))
            marks.text(data)
        else:
            waiting[entry.path] = (data, named)
    while found := [path for path, (_, named) in waiting.items() if named <= marks.digests]:
        for path in found:
            data, _ = waiting.pop(path)
            lists.add(_list_of(marks.store, data))
            marks.text(data)
            kept.add(path)
    return kept, lists


def _list_of(store: Store, data: bytes) -> str:
    try:
        return inputs.place_of(store, json.loads(data)["identity"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _failures(store: Store) -> set[str]:
    """The folders of the lists by which known failures are found."""
    found = set()
    for entry in store.storage.entries("failures"):
        try:
            task = json.loads(store.storage.get(entry.path) or b"")["request"]
            found.add(inputs.folder_of(task))
        except (ValueError, KeyError, TypeError, FormatError):
            continue
    return found


def _leads(entry: Entry, wanted: set[str]) -> bool:
    return not wanted.isdisjoint((entry.path, entry.path.rpartition("/")[0]))


def _output(data: bytes) -> dict[str, Any] | None:
    """The output in a result's record; None if the record is damaged."""
    try:
        output = json.loads(data)["output"]
        list(blobs(output))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(output)
