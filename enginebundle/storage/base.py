"""What a store needs from the place where its files live, and which paths it may use there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from enginebundle.errors import FormatError


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its path, its bytes, and when it was last written (seconds since the epoch, the storage's clock)."""

    path: str
    size: int
    modified: float


class Storage(Protocol):
    """Files by relative path. Every write is atomic: readers see all of it or nothing.

    All methods raise StoreError if the place can't be read or written, and FormatError for an unsafe path.
    """

    def get(self, path: str, limit: int | None = None) -> bytes | None:
        """The file's content, or None if it does not exist.

        UnreadableError, before it is read, if it has more than `limit` bytes, or is no regular file of the store.
        """

    def put(self, path: str, data: bytes | memoryview) -> None:
        """Write or replace a file."""

    def create(self, path: str, data: bytes) -> bytes:
        """Write a file unless it exists. Returns the file's content, the same for every caller.

        However many callers race, and wherever they crash, all of them get one content.
        """

    def replace(self, path: str, old: bytes, data: bytes) -> bool:
        """Compare and set: write a file if its content is `old`. Returns whether its content is now `data`."""

    def size(self, path: str) -> int | None:
        """The file's length in bytes, or None if it does not exist."""

    def files(self, folder: str) -> list[str]:
        """Paths of all files at any depth below `folder`, sorted."""

    def children(self, folder: str) -> list[str]:
        """Names of the files and folders directly inside `folder`, sorted."""

    def entries(self, folder: str) -> list[Entry]:
        """All files at any depth below `folder`, sorted by path; unfinished ones of killed writers too."""

    def remove(self, path: str) -> None:
        """Delete a file, if it exists."""

    def touch(self, path: str) -> None:
        """Make a file count as written now, if it exists."""

    def local(self, path: str) -> Path | None:
        """The file's path on this machine's disk, or None if the storage is not local."""


TEMPORARY = ".tmp-"
"""How the name of a file begins that is still being written, or whose writer was killed."""


def safe(path: str) -> str:
    """The path, if it is relative and stays inside the store. FormatError otherwise."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        raise FormatError(
            f"path {path!r}: expected a relative path of plain names separated by '/', without '..'"
        )
    return path
