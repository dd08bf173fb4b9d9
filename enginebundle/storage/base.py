"""What a store needs from the place its files live in, and which paths it may name there."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest, is_digest


class Storage(Protocol):
    """Files by relative path. Every write is atomic: readers see all of it or nothing.

    All methods raise StoreError where the place can't be read or written, FormatError for an unsafe path.
    """

    def get(self, path: str) -> bytes | None:
        """The file's content, or None where there is none."""

    def put(self, path: str, data: bytes | memoryview) -> None:
        """Write or replace a file."""

    def create(self, path: str, data: bytes) -> bytes:
        """Write a file unless there is one already; the content that won, the same for every caller.

        However many callers race, and wherever they crash, one content is ever returned.
        """

    def size(self, path: str) -> int | None:
        """The file's length in bytes, or None where there is none."""

    def files(self, folder: str) -> list[str]:
        """Paths of all files at any depth below `folder`, sorted."""

    def children(self, folder: str) -> list[str]:
        """Names of the files and folders directly inside `folder`, sorted."""

    def local(self, path: str) -> Path | None:
        """The file on this machine's disk, or None if this is no local storage."""


def safe(path: str) -> str:
    """The path, if it is relative and stays inside. FormatError otherwise."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        raise FormatError(
            f"path {path!r}: expected a relative path of plain names separated by '/', without '..'"
        )
    return path


def hexadecimal(digest: Digest) -> str:
    """The 64 digits of a digest, fit for a path. FormatError if it is none."""
    if not is_digest(digest):
        raise FormatError(f"digest {digest!r}: expected sha256: and 64 hexadecimal digits")
    return digest.removeprefix("sha256:")
