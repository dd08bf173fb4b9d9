"""Bundles by name: versions that never change.

Versions are slots numbered from 1 and filled in order. Each is filled by one `Storage.create`: the first
writer wins, and every writer learns who won.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from enginebundle.errors import ConflictError, FormatError, IntegrityError, NotFoundError
from enginebundle.format.digest import Digest, canonical_json, is_digest
from enginebundle.format.index import MAX_BYTES as MAX_INDEX
from enginebundle.format.parse import check_name, fields, is_name, json_object
from enginebundle.format.signing import join
from enginebundle.storage.blobs import BlobStore
from enginebundle.storage.reading import SMALL

_LOG = logging.getLogger(__name__)
_SLOT = re.compile(r"([1-9][0-9]{0,8})\.json\Z")
"""The name of what fills a slot: as many digits as a reference may have."""


@dataclass(frozen=True, slots=True)
class Version:
    """A published index. `created` is False if `publish` found that the content was already published."""

    name: str
    number: int
    digest: Digest
    created: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"


class BundleStore(BlobStore):
    """The part of a store that gives indexes names and numbers."""

    def publish(self, name: str, index: bytes, signature: bytes) -> Version:
        """Make a version of a bundle, or return the one that already has exactly this index.

        If several callers publish the same bytes at once, more than one may see `created`.
        """
        folder = _versions(name)
        digest = self.put_blob(index)
        record = canonical_json({"index": digest, "signature": self.put_blob(signature)})
        known = self._slots(folder)
        for version in self.versions(name):
            if version.digest == digest:
                return version
        number = max(known, default=0)
        while True:
            number += 1
            winner = self._storage.create(f"{folder}/{number}.json", record)
            version = self._version(name, number)
            if version.digest == digest:
                return replace(version, created=winner == record)

    def holds(self, version: Version) -> bool:
        """Whether the version can be opened: its record, index and signature are there, and undamaged."""
        try:
            record = self._version_record(version.name, version.number)
        except (FormatError, NotFoundError):
            return False
        blobs = (version.digest, record["signature"])
        return record["index"] == version.digest and all(map(self.check_blob, blobs))

    def put_version(self, version: Version, index: bytes, signature: bytes) -> None:
        """Copy a version of another store under its number. ConflictError if the number is taken."""
        digest = self.put_blob(index)
        record = canonical_json({"index": digest, "signature": self.put_blob(signature)})
        self._storage.create(f"{_versions(version.name)}/{version.number}.json", record)
        if self._version(version.name, version.number).digest != digest:
            raise ConflictError(
                f"store {self.uri} has another {version}; publish it as a new version"
            )

    def sign_version(self, version: Version, signature: bytes) -> None:
        """Put a further signature document over the index beside what is there."""
        self._sign(f"{_versions(version.name)}/{version.number}.json", signature)

    def read_index(self, version: Version) -> tuple[bytes, bytes]:
        """The raw index and its signature document. Neither is trusted yet: see `Trust.verify`."""
        record = self._version_record(version.name, version.number)
        signature = self.read_blob(record["signature"], SMALL)
        return self.read_blob(version.digest, MAX_INDEX), signature

    def names(self) -> list[str]:
        """The names of the bundles in the store."""
        return [name for name in self._storage.children("bundles") if is_name(name)]

    def numbers(self, name: str) -> list[int]:
        """The numbers of all versions of a bundle, ascending, whether they can be read or not."""
        return self._slots(_versions(name))

    def versions(self, name: str) -> list[Version]:
        """All versions of a bundle that can be read, oldest first; empty if there is no such bundle."""
        found = []
        for number in self._slots(_versions(name)):
            with self._said(f"version {name}@{number} is left out"):
                found.append(self._version(name, number))
        return found

    def _sign(self, path: str, signature: bytes, limit: int = SMALL) -> None:
        """Put a further signature document beside that of a record, which has its text or its digest."""
        while True:
            old = self._storage.get(path, limit)
            record = json_object(old or b"", path)
            before = str(record.get("signature", ""))
            apart = is_digest(before)
            after = join(self.read_blob(before, SMALL) if apart else before.encode(), signature)
            record["signature"] = self.put_blob(after) if apart else after.decode()
            new = canonical_json(record)
            if new == old or self._storage.replace(path, old or b"", new):
                return

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """Go on without a record that is damaged or gone, and say so: it must not stop the others."""
        try:
            yield
        except (FormatError, IntegrityError, NotFoundError) as error:
            _LOG.warning("store %s: %s: %s", self.uri, what, error)

    def _slots(self, folder: str) -> list[int]:
        """The numbers of the files `<n>.json` in a folder, ascending."""
        found = map(_SLOT.match, self._storage.children(folder))
        return sorted(int(slot[1]) for slot in found if slot)

    def _version(self, name: str, number: int) -> Version:
        return Version(name, number, self._version_record(name, number)["index"])

    def _version_record(self, name: str, number: int) -> dict[str, Digest]:
        return self._record(f"{_versions(name)}/{number}.json", ("index", "signature"))

    def _record(self, path: str, keys: tuple[str, ...]) -> dict[str, Digest]:
        """A stored object whose values are digests."""
        data = self._storage.get(path, SMALL)
        if data is None:
            raise NotFoundError(f"store {self.uri} has no {path}")
        record = fields(json_object(data, path), path, keys)
        for key in keys:
            if not is_digest(record[key]):
                raise FormatError(f"{path}: expected a digest as {key}, got {record[key]!r}")
        return record


def _versions(name: str) -> str:
    return f"bundles/{check_name(name, 'bundle name')}/versions"
