"""A store: blobs by digest, results by key, bundles by name and version, aliases that move.

blobs/sha256/ab/<64 hex>                    any content
damaged/<64 hex>/<64 hex>                   what was under a blob's name, by its own digest
results/ab/<64 hex>.json                    what a task made; the first writer wins
bundles/<name>/versions/<n>.json            {"index": digest, "signature": digest}; never changes
bundles/<name>/aliases/<alias>/<k>.json     {"version": n}; the highest k counts
bundles/<name>/evidence/<index>/<target>/*.json
timing/<64 hex>/<k>.json                    {"cache": digest, "for": ...}; the highest k counts
leases/...                                  who works on what now (storage/leases.py)
revoked/<k>.json                            what nobody should trust any more; the highest k counts
runs/<id>/...                               small documents of the farm that may change
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from enginebundle.errors import FormatError, NotFoundError, StoreError
from enginebundle.format.digest import Digest, canonical_json, hexadecimal
from enginebundle.format.parse import json_object
from enginebundle.storage.archive import ArchiveStorage, is_archive
from enginebundle.storage.base import Storage, safe
from enginebundle.storage.bundles import Version
from enginebundle.storage.home import expand
from enginebundle.storage.leases import LeaseStore
from enginebundle.storage.local import LocalStorage
from enginebundle.storage.reading import SMALL, is_file

__all__ = ["Store", "Version"]

_LOG = logging.getLogger(__name__)
_MARKER = "store.json"
_FORMAT = {"format": "enginebundle.store/1"}
_RESERVED = (
    "agreements", "blobs", "bundles", "damaged", "leases", "results", "revoked", "timing", _MARKER,
)  # fmt: skip


class Store(LeaseStore):
    """A store at `uri`. Every method raises StoreError if the store can't be read or written."""

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    @classmethod
    def open(cls, uri: str | Path, *, create: bool = False) -> Store:
        """The store in a folder, or at file://, s3:// or gs:// (with pyarrow's query parameters).

        If there is no store, `create` makes one; otherwise NotFoundError.
        """
        uri = str(uri)
        storage = _storage(uri)
        marker = storage.get(_MARKER, SMALL)
        if marker is None and create:
            marker = storage.create(_MARKER, canonical_json(_FORMAT))
        if marker is None:
            raise NotFoundError(f"no store at {uri}: it has no {_MARKER}. Check the path")
        if json_object(marker, _MARKER) != _FORMAT:
            raise FormatError(f"store {uri}: expected {_FORMAT} in {_MARKER}, got {marker[:200]!r}")
        return cls(uri, storage)

    def put_result(self, key: Digest, record: dict[str, Any]) -> dict[str, Any]:
        """Record what a task made, unless that is recorded already. Returns the record that counts.

        A record that can't be read counts as none, and is replaced.
        """
        path = _result(key)
        won = self._read(path, lambda: self._storage.create(path, canonical_json(record)))
        return self.replace_result(key, record) if won is None else won

    def replace_result(self, key: Digest, record: dict[str, Any]) -> dict[str, Any]:
        """Record what a task made in place of a record that is of no use: its blobs are lost, say."""
        self._storage.put(_result(key), canonical_json(record))
        return record

    def result(self, key: Digest) -> dict[str, Any] | None:
        """What the task of this key made; None if nothing is recorded, or nothing that can be read."""
        path = _result(key)
        return self._read(path, lambda: self._storage.get(path))

    def _read(self, path: str, look: Callable[[], bytes | None]) -> dict[str, Any] | None:
        try:
            data = look()
            return None if data is None else json_object(data, path)
        except FormatError as error:  # an UnreadableError as well: a pipe, or a link that leads out
            _LOG.warning("store %s: a damaged result counts as none: %s", self.uri, error)
            return None

    def put_file(self, path: str, data: bytes) -> None:
        """Write or replace a file, such as `runs/<id>/results.json`. The last writer wins."""
        self._storage.put(_unreserved(path), data)

    def get_file(self, path: str, limit: int | None = None) -> bytes | None:
        """A file's content, or None if it does not exist. UnreadableError if it has more than `limit` bytes."""
        return self._storage.get(_unreserved(path), limit)

    def list_files(self, prefix: str) -> list[str]:
        """The paths of the files at any depth below a folder, sorted."""
        return self._storage.files(_unreserved(prefix.rstrip("/")))


def is_store(folder: Path) -> bool:
    """Whether a folder on this machine has the marker of a store."""
    return is_file(folder / _MARKER)


def _storage(uri: str) -> Storage:
    expected = StoreError(f"store {uri!r}: expected a folder, file://, s3:// or gs://")
    if "://" not in uri:
        if not uri or re.match(r"(file|s3|gs|gcs|https?):", uri):
            raise expected
        path = expand(uri)
        return ArchiveStorage(path) if is_archive(path) else LocalStorage(path)
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise expected from error
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return LocalStorage(Path(unquote(parts.path)))
    if parts.scheme in ("s3", "gs", "gcs") and parts.netloc:
        from enginebundle.storage.remote import RemoteStorage

        return RemoteStorage(uri)
    raise expected


def _result(key: Digest) -> str:
    text = hexadecimal(key)
    return f"results/{text[:2]}/{text}.json"


def _unreserved(path: str) -> str:
    if safe(path).split("/")[0] in _RESERVED:
        raise FormatError(f"path {path!r}: expected one outside {', '.join(_RESERVED)}")
    return path
