"""Bundles by name: versions that never change, aliases that move.

Versions, and the moves of one alias, are slots numbered from 1 and filled in order. Each is filled by
one `Storage.create`: the first writer wins, and every writer learns who won.
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
from enginebundle.format.reference import Reference
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
    """The part of a store that gives indexes names and versions."""

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

    def resolve(self, reference: str) -> Version:
        """The version that `NAME`, `NAME@3`, `NAME@sha256:...` or `NAME:alias` means. Or NotFoundError."""
        wanted = Reference.parse(reference)
        if wanted.digest is not None:
            for version in self.versions(wanted.name):
                if version.digest == wanted.digest:
                    return version
            raise self._unknown(wanted, f"index {wanted.digest}")
        number = wanted.number
        if wanted.alias is not None:
            move = self._move(wanted.name, wanted.alias)
            if move is None:
                raise self._unknown(wanted, f"alias {wanted.alias!r}")
            number = move[1]
        if number is None or not self._has_version(wanted.name, number):
            raise self._unknown(wanted, f"version {number}")
        return self._version(wanted.name, number)

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

    def aliases(self, name: str) -> dict[str, int]:
        """The version number that each alias of a bundle points at. One that can't be read is left out."""
        folder = f"bundles/{check_name(name, 'bundle name')}/aliases"
        moves = {}
        for alias in filter(is_name, self._storage.children(folder)):
            with self._said(f"alias {name}:{alias} is left out"):
                moves[alias] = self._move(name, alias)
        return {alias: move[1] for alias, move in moves.items() if move is not None}

    def set_alias(self, name: str, alias: str, number: int, *, expected: int | None = None) -> None:
        """Point an alias at a version. NotFoundError if there is no such version.

        With `expected`, ConflictError unless the alias points at that version; 0 means that the
        alias must not exist yet.
        """
        folder = _moves(name, alias)
        if not self._has_version(name, number):
            raise self._unknown(Reference(name, alias=alias), f"version {number}")
        record = canonical_json({"version": number})
        while True:
            slot, current = max(self._slots(folder), default=0), 0
            with self._said(f"alias {name}:{alias} is written anew"):
                slot, current = self._move(name, alias) or (0, 0)
            if expected is not None and current != expected:
                raise ConflictError(
                    f"alias {name}:{alias} points at version {current or 'none'}, expected "
                    f"{expected or 'none'}: somebody moved it. Look again, then decide"
                )
            if current == number:
                return
            if self._storage.create(f"{folder}/{slot + 1}.json", record) == record:
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

    def _move(self, name: str, alias: str) -> tuple[int, int] | None:
        """The (slot, version) of an alias's last move."""
        folder = _moves(name, alias)
        slots = self._slots(folder)
        if not slots:
            return None
        path = f"{folder}/{slots[-1]}.json"
        value = fields(json_object(self._storage.get(path, SMALL) or b"", path), path, ("version",))
        if type(value["version"]) is not int or value["version"] < 1:
            raise FormatError(f"{path}: expected a version number, got {value['version']!r}")
        return slots[-1], value["version"]

    def _has_version(self, name: str, number: int) -> bool:
        return self._storage.size(f"{_versions(name)}/{number}.json") is not None

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

    def _unknown(self, wanted: Reference, what: str) -> NotFoundError:
        numbers = self._slots(_versions(wanted.name))
        if not numbers:
            names = ", ".join(self.names()) or "none"
            return NotFoundError(f"store {self.uri} has no bundle {wanted.name!r}; it has: {names}")
        aliases = ", ".join(f"{a} -> {n}" for a, n in self.aliases(wanted.name).items())
        return NotFoundError(
            f"{wanted}: store {self.uri} has no {what} of {wanted.name!r}; "
            f"it has versions {numbers} and aliases {aliases or 'none'}"
        )


def _versions(name: str) -> str:
    return f"bundles/{check_name(name, 'bundle name')}/versions"


def _moves(name: str, alias: str) -> str:
    return f"bundles/{check_name(name, 'bundle name')}/aliases/{check_name(alias, 'alias')}"
