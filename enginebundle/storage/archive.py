"""A store in one file, which is only read: a line that says so, the length of a header, the header, all contents.

    pack(folder, file)          everything in the folder, in the order of the paths
    ArchiveStorage(file)        the same files, by their paths

The header names each file with its size. So a reader knows where each lies, and a file of another length than they
have together is refused.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from itertools import accumulate
from pathlib import Path
from typing import NoReturn

from enginebundle.errors import FormatError, StoreError, UnreadableError
from enginebundle.format.digest import canonical_json
from enginebundle.format.parse import check_canonical, document_of, mapping
from enginebundle.storage.base import TEMPORARY, Entry, safe
from enginebundle.storage.reading import is_file

FORMAT = "enginebundle.archive/1"
_MAGIC = f"{FORMAT}\n".encode()
_LENGTH = 8
"""Bytes of the header's length, the highest last."""
_HEADER = 4 << 20
"""Bytes that the header may have."""


def is_archive(file: Path) -> bool:
    """Whether it is a regular file that says so."""
    try:
        if not is_file(file):
            return False
        with file.open("rb") as opened:
            return opened.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False


def pack(folder: Path, file: Path) -> None:
    """Write a folder's files as one. StoreError if it exists or can't be written."""
    paths = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    sizes = {path: (folder / path).stat().st_size for path in paths}
    header = canonical_json({"format": FORMAT, "files": sizes})
    if len(header) > _HEADER:
        raise StoreError(f"{file}: the list of {len(sizes)} files has more than {_HEADER} bytes")
    try:
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=file.parent)
        try:
            with open(handle, "wb") as opened:
                opened.write(_MAGIC + len(header).to_bytes(_LENGTH, "little") + header)
                for path in paths:
                    with (folder / path).open("rb") as part:
                        shutil.copyfileobj(part, opened, 1 << 20)
                opened.flush()
                os.fchmod(opened.fileno(), 0o644)
                os.fsync(opened.fileno())
            os.link(name, file)  # which does not replace
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror or error}") from error


class ArchiveStorage:
    """`storage.base.Storage` documents the methods; those that write raise StoreError."""

    def __init__(self, file: Path) -> None:
        """FormatError if the file is not whole, or its header is not as `pack` writes it."""
        self.file = file
        try:
            with file.open("rb") as opened:
                start = opened.read(len(_MAGIC) + _LENGTH)
                length = int.from_bytes(start[len(_MAGIC) :], "little")
                if len(start) < len(_MAGIC) + _LENGTH or length > _HEADER:
                    raise FormatError(
                        f"{file}: its header has {length} bytes, of {_HEADER} at most"
                    )
                header = opened.read(length)
                whole = os.fstat(opened.fileno()).st_size
        except OSError as error:
            raise StoreError(f"{file}: {error.strerror or error}") from error
        value = document_of(header, FORMAT, ("files",), _HEADER)
        self._sizes: dict[str, int] = {}
        for path, size in mapping(value["files"], "files").items():
            if type(size) is not int or not 0 <= size < 1 << 62:
                raise FormatError(f"{file}: {path!r} has the size {size!r}")
            self._sizes[safe(path)] = size
        check_canonical(canonical_json(value), header, f"header of {file}")
        # In the order of the header, which is that of the paths.
        first = len(start) + length
        ends = list(accumulate(self._sizes.values(), initial=first))
        self._starts = dict(zip(self._sizes, ends, strict=False))
        if ends[-1] != whole:
            raise FormatError(f"{file}: expected {ends[-1]} bytes, got {whole}. Copy it again")

    def get(self, path: str, limit: int | None = None) -> bytes | None:
        size = self.size(path)
        if size is None:
            return None
        if limit is not None and size > limit:
            raise UnreadableError(f"{self.file}: {path} has {size} bytes, expected at most {limit}")
        try:
            with self.file.open("rb") as opened:
                opened.seek(self._starts[path])
                return opened.read(size)
        except OSError as error:
            raise StoreError(
                f"{self.file}: can't read {path}: {error.strerror or error}"
            ) from error

    def size(self, path: str) -> int | None:
        return self._sizes.get(safe(path))

    def files(self, folder: str) -> list[str]:
        return [path for path in self._sizes if path.startswith(f"{safe(folder)}/")]

    def children(self, folder: str) -> list[str]:
        inside = (path[len(folder) + 1 :] for path in self.files(folder))
        return sorted({path.split("/")[0] for path in inside})

    def entries(self, folder: str) -> list[Entry]:
        modified = self.file.stat().st_mtime
        return [Entry(path, self._sizes[path], modified) for path in self.files(folder)]

    def local(self, path: str) -> Path | None:
        return None

    def put(self, path: str, data: bytes | memoryview) -> None:
        self._refuse()

    def create(self, path: str, data: bytes) -> bytes:
        self._refuse()

    def replace(self, path: str, old: bytes, data: bytes) -> bool:
        self._refuse()

    def remove(self, path: str) -> None:
        self._refuse()

    def touch(self, path: str) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StoreError(f"{self.file} is one file, which is only read. Export it again")
