"""Read everything that a store holds, and tell what is damaged or missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from enginebundle.errors import BundleError, IntegrityError, NotFoundError, UnreadableError
from enginebundle.format.digest import PREFIX, Digest, is_digest
from enginebundle.format.index import Index
from enginebundle.storage.base import TEMPORARY
from enginebundle.storage.store import Store
from orchestrator.keep.results import Results


@dataclass(frozen=True)
class Verified:
    """`damaged` blobs and `incomplete` versions (each with the reason); `useless` results by key, and the
    runs that made these; how many blobs were read."""

    blobs: int = 0
    damaged: tuple[Digest, ...] = ()
    incomplete: dict[str, str] = field(default_factory=dict)
    useless: dict[Digest, str] = field(default_factory=dict)

    @property
    def fine(self) -> bool:
        return not (self.damaged or self.incomplete or self.useless)


def verify(store: Store, *, set_aside: bool = False) -> Verified:
    """Hash every blob, open every version, look up every result. `set_aside` moves damaged blobs away."""
    count, damaged = 0, []
    for entry in store.storage.entries("blobs"):
        digest = PREFIX + entry.path.rpartition("/")[2]
        if not is_digest(digest):
            continue  # a stray file, or one of a writer that was killed
        count += 1
        if not (store.check_blob(digest) if set_aside else _right(store, digest)):
            damaged.append(digest)
    bad = frozenset(damaged)
    incomplete = {}
    for name in store.names():
        for number in store.numbers(name):
            if why := _incomplete(store, name, number, bad):
                incomplete[f"{name}@{number}"] = why
    return Verified(count, tuple(damaged), incomplete, dict(_useless(store, bad)))


def _right(store: Store, digest: Digest) -> bool:
    try:
        store.read_blob(digest)
    except (IntegrityError, NotFoundError, UnreadableError):
        return False
    return True


def _incomplete(store: Store, name: str, number: int, damaged: frozenset[Digest]) -> str:
    """Why a version can't be opened completely."""
    try:
        version = store.resolve(f"{name}@{number}")
        index = Index.from_bytes(store.read_index(version)[0])
    except BundleError as error:
        return str(error)
    for digest, size in index.blobs:
        if digest in damaged:
            return f"blob {digest} is damaged"
        if not store.has_blob(digest, size):
            return f"blob {digest} is missing, or has another size than {size}"
    return ""


def _useless(store: Store, damaged: frozenset[Digest]) -> Iterator[tuple[Digest, str]]:
    """Results that can't be used, each with the run that recorded it, if that can be read."""
    results = Results(store)
    for entry in store.storage.entries("results"):
        stem = entry.path.rpartition("/")[2].removesuffix(".json")
        key = PREFIX + stem
        if entry.path.rpartition("/")[2].startswith(TEMPORARY) or not is_digest(key):
            continue
        record = results.result(key)
        if record is None or results.named(record) & damaged:
            yield key, _run(store, entry.path)


def _run(store: Store, path: str) -> str:
    try:
        return str(json.loads(store.storage.get(path) or b"")["provenance"]["run"])
    except (UnreadableError, ValueError, KeyError, TypeError):
        return ""
