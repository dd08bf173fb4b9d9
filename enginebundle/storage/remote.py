"""Files on S3, GCS or anything else that `pyarrow.fs` opens by URI.

One file is one object, and a put becomes visible as a whole. pyarrow has no conditional writes, so
`create` runs an agreement; `storage.agreement` documents what that guarantees.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from enginebundle.errors import StoreError
from enginebundle.storage.agreement import FOLDER, agree
from enginebundle.storage.base import Entry, safe

_RECENT = 3600.0
"""Seconds within which an object counts as just written."""


class RemoteStorage:
    """Files below the prefix of `uri`. `storage.base.Storage` documents the methods."""

    def __init__(self, uri: str) -> None:
        from pyarrow import fs

        self.uri = uri
        try:
            self._fs, prefix = _open(fs, uri)
            if not prefix.strip("/"):
                raise ValueError("no bucket is named")
        except (OSError, ValueError, NotImplementedError) as error:
            raise StoreError(
                f"store {uri}: {error}. Expected s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
            ) from error
        self._prefix = prefix.rstrip("/")
        self._selector = fs.FileSelector
        self._file = fs.FileType.File

    def get(self, path: str) -> bytes | None:
        with self._refusals("read", path):
            try:
                with self._fs.open_input_stream(self._full(path)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def put(self, path: str, data: bytes | memoryview) -> None:
        with (
            self._refusals("write", path),
            self._fs.open_output_stream(self._full(path), compression=None) as stream,
        ):
            stream.write(data)

    def create(self, path: str, data: bytes) -> bytes:
        return agree(self, safe(path), data)

    def size(self, path: str) -> int | None:
        with self._refusals("read", path):
            info: Any = self._fs.get_file_info(self._full(path))
        return int(info.size) if info.type == self._file else None

    def files(self, folder: str) -> list[str]:
        return self._list(folder, recursive=True)

    def children(self, folder: str) -> list[str]:
        return [path.rpartition("/")[2] for path in self._list(folder, recursive=False)]

    def entries(self, folder: str) -> list[Entry]:
        return [
            Entry(self._relative(info.path), int(info.size or 0), (info.mtime_ns or 0) / 1e9)
            for info in self._infos(folder, recursive=True)
            if info.type == self._file
        ]

    def remove(self, path: str) -> None:
        """Notes about the path go too: the next proposer would bring back what they agreed on."""
        self._delete(path)
        for note in self.files(f"{FOLDER}/{safe(path)}"):
            self._delete(note)

    def _delete(self, path: str) -> None:
        with self._refusals("remove", path), suppress(FileNotFoundError):
            self._fs.delete_file(self._full(path))

    def touch(self, path: str) -> None:
        """An object is as old as its content: it is written again, unless that was done within the hour."""
        with self._refusals("read", path):
            info: Any = self._fs.get_file_info(self._full(path))
        if time.time() - (info.mtime_ns or 0) / 1e9 > _RECENT and (data := self.get(path)):
            self.put(path, data)

    def local(self, path: str) -> Path | None:
        return None

    def _list(self, folder: str, *, recursive: bool) -> list[str]:
        found = self._infos(folder, recursive=recursive)
        return [self._relative(i.path) for i in found if not recursive or i.type == self._file]

    def _infos(self, folder: str, *, recursive: bool) -> list[Any]:
        with self._refusals("list", folder):
            selector = self._selector(self._full(folder), recursive=recursive, allow_not_found=True)
            return sorted(self._fs.get_file_info(selector), key=lambda info: str(info.path))

    def _relative(self, full: str) -> str:
        return full[len(self._prefix) + 1 :]

    def _full(self, path: str) -> str:
        return f"{self._prefix}/{safe(path)}"

    @contextmanager
    def _refusals(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"store {self.uri}: can't {verb} {path}: {error}. "
                "Check the bucket, its region or endpoint_override, and the credentials"
            ) from error


def _open(fs: Any, uri: str) -> tuple[Any, str]:
    """The file system and path of a URI. On S3, a small object is written in one request if possible."""
    if uri.startswith("s3:") and "allow_delayed_open" not in uri:
        mark = "&" if "?" in uri else "?"
        try:
            found: tuple[Any, str] = fs.FileSystem.from_uri(f"{uri}{mark}allow_delayed_open=true")
        except ValueError:
            pass  # a pyarrow that does not know the option
        else:
            return found
    plain: tuple[Any, str] = fs.FileSystem.from_uri(uri)
    return plain
