"""Blobs by digest, over any storage."""

from __future__ import annotations

import logging
from pathlib import Path

from enginebundle.errors import IntegrityError, NotFoundError, UnreadableError
from enginebundle.format.digest import Digest, digest_bytes, digest_file, hexadecimal
from enginebundle.storage.base import Storage
from enginebundle.storage.home import cache_folder
from enginebundle.storage.local import LocalStorage
from enginebundle.storage.reading import is_file

_LOG = logging.getLogger(__name__)


class BlobStore:
    """The content-addressed part of a store."""

    def __init__(self, uri: str, storage: Storage) -> None:
        self.uri = uri
        self._storage = storage

    @property
    def storage(self) -> Storage:
        """Where its files are: for what keeps whole stores in order."""
        return self._storage

    def put_blob(self, data: bytes | memoryview | Path) -> Digest:
        """Store content, or a file's content, under its digest. Storing it again changes nothing.

        What is there under that name is read: if it is other content, it is set aside, in `damaged/`.
        """
        if isinstance(data, Path):
            data = data.read_bytes()
        digest = digest_bytes(data)
        path = _blob(digest)
        if self._storage.size(path) is not None and self.check_blob(digest):
            self._storage.touch(path)  # kiln gc leaves alone what was used just now
        else:
            self._storage.put(path, data)
        return digest

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the store has the blob, with that many bytes if given. Its content is not read."""
        found = self._storage.size(_blob(digest))
        return found is not None and size in (None, found)

    def blob_size(self, digest: Digest) -> int | None:
        """The blob's length in bytes, or None if the store has none."""
        return self._storage.size(_blob(digest))

    def check_blob(self, digest: Digest) -> bool:
        """Whether the store has the blob and its content is right. Wrong content is set aside first."""
        path = _blob(digest)
        try:
            data = self._storage.get(path)
        except UnreadableError:  # a pipe, or a link that leads out
            return False
        if data is None:
            return False
        if (got := digest_bytes(data)) == digest:
            return True
        aside = f"damaged/{hexadecimal(digest)}/{hexadecimal(got)}"
        self._storage.put(aside, data)
        self._storage.remove(path)
        _LOG.warning("store %s: blob %s had other content, now in %s", self.uri, digest, aside)
        return False

    def read_blob(self, digest: Digest, limit: int | None = None) -> bytes:
        """The blob's content. NotFoundError if it is missing, IntegrityError if its digest is wrong.

        UnreadableError, before it is read, if it has more than `limit` bytes.
        """
        data = self._storage.get(_blob(digest), limit)
        if data is None:
            raise self._missing(digest)
        _check(digest_bytes(data), digest, f"{len(data)} bytes in store {self.uri}")
        return data

    def blob_path(self, digest: Digest) -> Path:
        """A local file with the blob's content, checked just before the return.

        A blob of a remote store is downloaded once, to $ENGINEBUNDLE_CACHE or ~/.cache/enginebundle.
        """
        path = _blob(digest)
        local = self._storage.local(path)
        if local is None:
            cache = LocalStorage(cache_folder())
            local = cache.root / path
            if not is_file(local) or digest_file(local) != digest:
                cache.put(path, self.read_blob(digest))
        if not is_file(local):
            raise self._missing(digest)
        _check(digest_file(local), digest, str(local))
        return local

    def _missing(self, digest: Digest) -> NotFoundError:
        return NotFoundError(f"store {self.uri} has no blob {digest}; publish or copy it again")


def _blob(digest: Digest) -> str:
    text = hexadecimal(digest)
    return f"blobs/sha256/{text[:2]}/{text}"


def _check(got: Digest, want: Digest, where: str) -> None:
    if got != want:
        raise IntegrityError(f"expected content {want}, got {got}: {where}. Copy it again")
