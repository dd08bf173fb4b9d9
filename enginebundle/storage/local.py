"""Files in a local folder. A write goes to a temporary file, then fsync, then rename or link."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from enginebundle.errors import StoreError, UnreadableError
from enginebundle.storage.base import TEMPORARY, Entry, safe
from enginebundle.storage.reading import check_inside, read_file


class LocalStorage:
    """Files below `root`. `storage.base.Storage` documents the methods.

    Links may lead out of `root` only if `links` says so: where nobody but this user writes.
    """

    def __init__(self, root: Path, *, links: bool = False) -> None:
        self.root = root
        self._links = links

    def get(self, path: str, limit: int | None = None) -> bytes | None:
        with self._refusals("read", path):
            return read_file(self._file(path), limit)

    def put(self, path: str, data: bytes | memoryview) -> None:
        with self._refusals("write", path):
            final = self._entry(path)
            with _temporary(final, data, 0o644) as temporary:
                os.replace(temporary, final)

    def create(self, path: str, data: bytes, *, mode: int = 0o644) -> bytes:
        if (existing := self.get(path)) is not None:
            return existing
        with self._refusals("write", path):
            final = self._file(path)
            with _temporary(final, data, mode) as temporary, contextlib.suppress(FileExistsError):
                # A hard link is the only portable way to create a complete file unless it exists.
                os.link(temporary, final)
                return data
        won = self.get(path)
        if won is None:
            raise UnreadableError(f"store {self.root}: {path} is a link that leads nowhere")
        return won

    def replace(self, path: str, old: bytes, data: bytes) -> bool:
        safe(path)  # the lock needs a store, a wrong path none
        with self._refusals("write", path), self._lock():
            final = self._file(path)
            if (found := self.get(path)) != old:
                return found == data
            with _temporary(final, data, 0o644) as temporary:
                os.replace(temporary, final)
        return True

    def size(self, path: str) -> int | None:
        with self._refusals("read", path):
            try:
                about = os.lstat(f"{self.root}/{safe(path)}")
                if stat.S_ISLNK(about.st_mode):
                    about = os.stat(self._file(path))
            except (FileNotFoundError, NotADirectoryError, UnreadableError):
                return None  # nobody reads through a link that leads out
        return about.st_size if stat.S_ISREG(about.st_mode) else None

    def files(self, folder: str) -> list[str]:
        with self._refusals("list", folder):
            start = self._file(folder)
            found = [
                Path(parent, name).relative_to(self.root).as_posix()
                for parent, names in _walk(start)
                for name in names
                if not name.startswith(TEMPORARY)
            ]
        return sorted(found)

    def entries(self, folder: str) -> list[Entry]:
        found = []
        with self._refusals("list", folder):
            for parent, names in _walk(self._file(folder)):
                for name in names:
                    with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
                        about = os.stat(os.path.join(parent, name))
                        path = Path(parent, name).relative_to(self.root).as_posix()
                        found.append(Entry(path, about.st_size, about.st_mtime))
        return sorted(found, key=lambda entry: entry.path)

    def remove(self, path: str) -> None:
        safe(path)  # the lock needs a store, a wrong path none
        with self._refusals("remove", path), self._lock():
            self._entry(path).unlink(missing_ok=True)

    def touch(self, path: str) -> None:
        with self._refusals("write", path), contextlib.suppress(FileNotFoundError):
            os.utime(self._file(path))

    def children(self, folder: str) -> list[str]:
        with self._refusals("list", folder):
            try:
                names = os.listdir(self._file(folder))
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(name for name in names if not name.startswith(TEMPORARY))

    def local(self, path: str) -> Path | None:
        return self._file(path)

    def _file(self, path: str) -> Path:
        """Where a path is. UnreadableError if a link on the way leads out of the root."""
        file = self.root / safe(path)
        if not self._links:
            check_inside(self.root, path)
        return file

    def _entry(self, path: str) -> Path:
        """The same for what is removed or replaced: a link itself, so that only the way to it has to stay inside."""
        folder, _, name = safe(path).rpartition("/")
        return (self._file(folder) if folder else self.root) / name

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Keeps replacements and removals apart, of all processes: no file system compares and sets."""
        with open(self.root / f"{TEMPORARY}lock", "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _refusals(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except UnreadableError as error:
            raise UnreadableError(f"store {self.root}: can't {verb} {path}: {error}") from error
        except (OSError, ValueError) as error:  # a ValueError: the root is no path
            raise StoreError(
                f"store {self.root}: can't {verb} {path}: {_why(error)}. "
                "Check that the folder exists, has space and belongs to this user, or name another store"
            ) from error


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder at and below this one with its files' names; none if there is none. OSError where one can't
    be read: what it holds would seem to be gone."""

    def failed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise error

    for parent, _, names in os.walk(folder, onerror=failed):
        yield parent, names


@contextmanager
def _temporary(final: Path, data: bytes | memoryview, mode: int) -> Iterator[str]:
    """A complete, flushed file beside `final`, removed after the body, when the folder is flushed."""
    final.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=final.parent)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        yield name
        _flush_folder(final.parent)
    finally:
        Path(name).unlink(missing_ok=True)


def _why(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
