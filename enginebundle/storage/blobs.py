"""Blobs by digest and results by key, over any storage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from enginebundle.errors import FormatError, IntegrityError, NotFoundError
from enginebundle.format.digest import (
    Digest,
    canonical_json,
    digest_bytes,
    digest_file,
    is_digest,
    parse_json,
)
from enginebundle.format.spec import fields
from enginebundle.storage.base import Storage
from enginebundle.storage.local import LocalStorage


class BlobStore:
    """The content-addressed part of a store."""

    def __init__(self, uri: str, storage: Storage) -> None:
        self.uri = uri
        self._storage = storage

    def put_blob(self, data: bytes | memoryview | Path) -> Digest:
        """Store content, or a file's content, under its digest. Put twice, it is there once."""
        if isinstance(data, Path):
            data = data.read_bytes()
        digest = digest_bytes(data)
        path = _blob(digest)
        if self._storage.size(path) != len(data):
            self._storage.put(path, data)
        return digest

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there; its content is not checked."""
        return self._storage.size(_blob(digest)) is not None

    def read_blob(self, digest: Digest) -> bytes:
        """Content that matches the digest. NotFoundError, or IntegrityError where it does not."""
        data = self._storage.get(_blob(digest))
        if data is None:
            raise self._missing(digest)
        _check(digest_bytes(data), digest, f"{len(data)} bytes in store {self.uri}")
        return data

    def blob_path(self, digest: Digest) -> Path:
        """A local file that held the digest's content when this returned.

        A blob of a remote store is downloaded once, to $ENGINEBUNDLE_CACHE or ~/.cache/enginebundle.
        """
        path = _blob(digest)
        local = self._storage.local(path)
        if local is None:
            cache = LocalStorage(_cache_folder())
            local = cache.root / path
            if not local.exists() or digest_file(local) != digest:
                cache.put(path, self.read_blob(digest))
        if not local.is_file():
            raise self._missing(digest)
        _check(digest_file(local), digest, str(local))
        return local

    def put_result(self, key: Digest, record: dict[str, Any]) -> dict[str, Any]:
        """Record what a task made unless somebody has; the record that won, the same for everybody."""
        path = _result(key)
        return document(self._storage.create(path, canonical_json(record)), path)

    def result(self, key: Digest) -> dict[str, Any] | None:
        """The record of a task, if it has one."""
        path = _result(key)
        data = self._storage.get(path)
        return None if data is None else document(data, path)

    def _record(self, path: str, keys: tuple[str, ...]) -> dict[str, Digest]:
        """A stored object whose values are digests."""
        data = self._storage.get(path)
        if data is None:
            raise NotFoundError(f"store {self.uri} has no {path}")
        record = fields(document(data, path), path, keys)
        for key in keys:
            if not is_digest(record[key]):
                raise FormatError(f"{path}: expected a digest as {key}, got {record[key]!r}")
        return record

    def _missing(self, digest: Digest) -> NotFoundError:
        return NotFoundError(f"store {self.uri} has no blob {digest}; publish or copy it again")


def hexadecimal(digest: Digest) -> str:
    """The 64 digits of a digest, fit for a path. FormatError if it is none."""
    if not is_digest(digest):
        raise FormatError(f"digest {digest!r}: expected sha256: and 64 hexadecimal digits")
    return digest.removeprefix("sha256:")


def document(data: bytes, path: str) -> dict[str, Any]:
    """A stored JSON object. FormatError, naming `path`, if it is none."""
    try:
        value = parse_json(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise FormatError(f"{path}: expected an object, got {type(value).__name__}")
    return value


def _blob(digest: Digest) -> str:
    text = hexadecimal(digest)
    return f"blobs/sha256/{text[:2]}/{text}"


def _result(key: Digest) -> str:
    text = hexadecimal(key)
    return f"results/{text[:2]}/{text}.json"


def _check(got: Digest, want: Digest, where: str) -> None:
    if got != want:
        raise IntegrityError(f"expected content {want}, got {got}: {where}. Copy it again")


def _cache_folder() -> Path:
    named = os.environ.get("ENGINEBUNDLE_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "enginebundle"
