"""Leases: who works on a key now, which runs are alive, and whether a sweep is going on.

    leases/keys/<64 hex>/<n>.json    the n-th holder's document; the highest n holds the key
    leases/runs/<run>.json           a run that is alive
    leases/sweep.json                a sweep of what nothing needs (`kiln gc`)

A holder rewrites its document from time to time, with another beat, as long as it is still its own. Whoever
waits for it judges by its own clock how long the document has stayed the same, so clocks need not agree.
The number n is a fence: a holder that was taken for dead finds a higher one. Nothing here decides what a
store holds: without any lease, work is done twice and the first result wins.
"""

from __future__ import annotations

from typing import Any

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest, canonical_json, hexadecimal
from enginebundle.format.parse import json_object
from enginebundle.storage.moving import MovingStore

SWEEP = "leases/sweep.json"
Document = dict[str, Any]


class LeaseStore(MovingStore):
    """The part of a store that keeps leases."""

    def key_lease(self, key: Digest) -> tuple[int, Document | None]:
        """The latest holder's number and document; (0, None) if nobody holds the key."""
        slots = self._slots(_key(key))
        if not slots:
            return 0, None
        return slots[-1], self.lease(f"{_key(key)}/{slots[-1]}.json")

    def claim_key(self, key: Digest, number: int, document: Document) -> bool:
        """Become the holder of that number, one above the latest. False if another was first."""
        data = canonical_json(document)
        return self._storage.create(f"{_key(key)}/{number}.json", data) == data

    def beat_key(self, key: Digest, number: int, last: Document, document: Document) -> bool:
        """Rewrite the holder's document. False if it is not the last one any more: the holder was replaced."""
        return self.move_lease(f"{_key(key)}/{number}.json", last, document)

    def release_key(self, key: Digest, number: int) -> None:
        """Remove the documents of this holder and of those before it."""
        for slot in self._slots(_key(key)):
            if slot <= number:
                self._storage.remove(f"{_key(key)}/{slot}.json")

    def lease(self, path: str) -> Document | None:
        """A lease's document; empty if it can't be read, None if there is none."""
        data = self._storage.get(path)
        if data is None:
            return None
        try:
            return json_object(data, path)
        except FormatError:
            return {}

    def put_lease(self, path: str, document: Document) -> None:
        """Write the lease of a run, whatever is there."""
        self._storage.put(path, canonical_json(document))

    def claim_lease(self, path: str, document: Document) -> bool:
        """Write a lease unless there is one. False if another was first."""
        data = canonical_json(document)
        return self._storage.create(path, data) == data

    def move_lease(self, path: str, last: Document, document: Document) -> bool:
        """Write a lease in place of the last document. False if that is gone or another."""
        return self._storage.replace(path, canonical_json(last), canonical_json(document))

    def end_lease(self, path: str) -> None:
        """Remove it."""
        self._storage.remove(path)

    def run_leases(self) -> dict[str, Document]:
        """The documents of runs that say they are alive, by path."""
        paths = [f"leases/runs/{name}" for name in self._storage.children("leases/runs")]
        found = {path: self.lease(path) for path in paths if path.endswith(".json")}
        return {path: document for path, document in found.items() if document is not None}


def run_path(run: str) -> str:
    """Where a run's lease is."""
    return f"leases/runs/{run}.json"


def _key(key: Digest) -> str:
    return f"leases/keys/{hexadecimal(key)}"
