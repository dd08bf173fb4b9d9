"""The results that count: records that can be read, and whose blobs the store still has.

A result that is of no use counts as none, so its task runs again and its new record replaces it. Indexes
and evidence are read; of other blobs only the sizes are looked up. `kiln store verify` reads all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from enginebundle.format.digest import Digest, is_digest
from enginebundle.storage.store import Store, Version

_said: set[tuple[str, Digest, str]] = set()
"""What was said: once is enough, though a plan, a run and an attempt look the same result up."""
_LOG = logging.getLogger(__name__)
_BLOBS = ("graph", "weights", "report", "evidence", "index", "engine")
"""The names under which outputs hold a blob's digest. Other digests, such as `program`, name no blob."""


class Results:
    """Looks results up. Remembers which blobs it saw: make one for a planning or a run, not for longer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[Digest, int | None] = {}

    def result(self, key: Digest) -> Mapping[str, Any] | None:
        """The record of that key if it can be used, else None. Why not is said in a warning."""
        record = self._store.result(key)
        if record is None:
            return None
        try:
            why = self._useless(key, record)
        except (TypeError, KeyError, AttributeError, ValueError):
            why = "its record is damaged"
        if why:
            if (self._store.uri, key, why) not in _said:
                _said.add((self._store.uri, key, why))
                _LOG.warning("the result %s counts as none, and is made again: %s", key, why)
            return None
        return record

    def named(self, record: Mapping[str, Any]) -> set[Digest]:
        """The blobs that a usable record names."""
        return {*record.get("blobs", {}), *(digest for digest, _ in blobs(record["output"]))}

    def _useless(self, key: Digest, record: Mapping[str, Any]) -> str:
        output = record["output"]
        if record["key"] != key or not isinstance(output, dict):
            return "its record is damaged"
        float(record["provenance"]["seconds"])
        if "evidence" in output and not self._store.check_blob(output["evidence"]):
            return f"the evidence {output['evidence']} is damaged or lost"
        sizes = record.get("blobs", {})
        for digest, size in blobs(output):
            if not self._has(digest, sizes.get(digest, size)):
                return f"the store lacks blob {digest}, or has it with another size"
        if "version" in output and "index" in output:
            version = Version(
                record["identity"]["spec"]["name"], output["version"], output["index"]
            )
            if not self._store.holds(version):
                return f"the store lacks {version}"
        return ""

    def _has(self, digest: Digest, size: int | None) -> bool:
        if digest in self._seen and size in (None, self._seen[digest]):
            return True
        found = self._store.has_blob(digest, size)
        if found:
            self._seen[digest] = size
        return found


def blobs(output: Mapping[str, Any]) -> Iterator[tuple[Digest, int | None]]:
    """The blobs that a task's or an engine's output names, with their sizes where it tells them."""
    sizes = output.get("blobs", {})
    yield from sizes.items()
    for golden in output.get("goldens", ()):
        yield str(golden["blob"]), golden.get("bytes")
    for name in _BLOBS:
        value = output.get(name)
        if isinstance(value, str) and is_digest(value) and value not in sizes:
            yield value, output.get("bytes") if name == "engine" else None
