"""What a file, a folder, a link or a module search gives now. Each as a short text or a digest."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path

from enginebundle.format.digest import Digest, digest_bytes, digest_file, digest_json

ABSENT, FOLDER, UNREADABLE = "absent", "folder", "unreadable"
UNLISTED = "__pycache__"
"""Left out of listings: Python makes it from files that are listed."""

_suffixes = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)
_digests: dict[tuple[str, int, int, int, int], Digest] = {}


def file_digest(path: Path) -> Digest:
    """SHA-256 of a file. A file is read again only if it changed since this process read it.

    OSError also for a pipe or a device, whose end nobody would see.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError(f"{path}: neither a file nor a folder")
    key = (str(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
    if key not in _digests:
        _digests[key] = digest_file(path)
    return _digests[key]


def content(path: Path) -> str:
    """A file's digest, or why there is none."""
    try:
        return FOLDER if path.is_dir() else file_digest(path)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError:
        return UNREADABLE


def look(path: Path) -> str:
    """What `stat` tells of a path: whether it is there, what it is, a file's size."""
    try:
        found = os.stat(path)
    except OSError:
        return ABSENT
    return FOLDER if os.path.isdir(path) else f"file of {found.st_size} bytes"


def listing(folder: Path) -> Digest:
    """Digest of the names in a folder, and which of them are folders."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name + "/" * e.is_dir() for e in entries if e.name != UNLISTED)
    except OSError:
        return ABSENT
    return digest_json(names)


def link(path: Path) -> str | None:
    """Where a link leads to; None if it is no link."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def names(folder: Path) -> frozenset[str]:
    """The names in a folder; none if it can't be read."""
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def module(folder: Path, name: str, among: Collection[str]) -> str | None:
    """The file, relative to the folder, in which Python finds a module; `name/` for a bare folder.

    `among` are the folder's `names`. The order is that of importlib's FileFinder.
    """
    is_folder = name in among and (folder / name).is_dir()
    if is_folder:
        for suffix in _suffixes:
            if (folder / name / f"__init__{suffix}").is_file():
                return f"{name}/__init__{suffix}"
    for suffix in _suffixes:
        if name + suffix in among and (folder / f"{name}{suffix}").is_file():
            return name + suffix
    return f"{name}/" if is_folder else None


def variable(value: str | None) -> Digest | None:
    """An environment variable's value as a digest, since it may be a secret; None if it is not set."""
    return None if value is None else digest_bytes(os.fsencode(value))
