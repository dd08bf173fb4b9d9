"""Records that move: for each key a history of documents, of which the latest counts.

A move is one `Storage.create` of the next number, so it is a compare-and-set: of several writers that
read the same number, one gets the next, and the others learn it and read again.
"""

from __future__ import annotations

from typing import Any

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest, canonical_json, hexadecimal
from enginebundle.format.parse import json_object
from enginebundle.storage.proofs import ProofStore
from enginebundle.storage.reading import SMALL


class MovingStore(ProofStore):
    """The part of a store that keeps TensorRT's timing caches."""

    def timing(self, key: Digest) -> tuple[int, dict[str, Any]]:
        """The number and content of the latest record; (0, {}) if there is none, {} if it can't be read."""
        folder = _timing(key)
        slots = self._slots(folder)
        if not slots:
            return 0, {}
        path = f"{folder}/{slots[-1]}.json"
        try:
            return slots[-1], json_object(self._storage.get(path, SMALL) or b"", path)
        except FormatError:
            return slots[-1], {}  # only helps builds along: the next one moves past it

    def move_timing(self, key: Digest, number: int, record: dict[str, Any]) -> bool:
        """Put a record after the one of that number. False if another came first: read it again."""
        data = canonical_json(record)
        return self._storage.create(f"{_timing(key)}/{number + 1}.json", data) == data


def _timing(key: Digest) -> str:
    return f"timing/{hexadecimal(key)}"
