"""Reading one file that somebody else may have put there: what it is, and how long, is known first."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from enginebundle.errors import UnreadableError

SMALL = 1 << 16
"""Bytes that a record, a signature, a head or a public key may have."""

_OWN_FAULT = (errno.EACCES, errno.EPERM, errno.EIO, errno.ELOOP, errno.ENXIO, errno.ENODEV)
"""What the system says of this one file; of others it may say otherwise."""


def read_file(file: Path, limit: int | None = None) -> bytes | None:
    """A regular file's content; None if there is no file.

    UnreadableError, before a byte is read, if it is anything else, such as a pipe, a device or a folder, or has
    more than `limit` bytes, or may not be read. OSError for what concerns more than this file.
    """
    try:
        # Opening a device can already do something, so it is looked at before and after.
        _regular(os.stat(file), limit)
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            size = _regular(os.fstat(opened.fileno()), limit)
            # One byte more than it had, in case that it grows: a digest would show it, a limit has to hold.
            data = opened.read(size + 1) if limit is not None else opened.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise UnreadableError(f"it is no path: {error}") from error
    except OSError as error:
        if error.errno not in _OWN_FAULT:
            raise
        raise UnreadableError(str(error.strerror)) from error
    if limit is not None and len(data) > limit:
        raise UnreadableError(f"it has more than {limit} bytes")
    return data


def is_file(file: Path) -> bool:
    """Whether a regular file is there, whatever the path is like."""
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except (OSError, ValueError):
        return False


def check_inside(root: Path, path: str) -> None:
    """UnreadableError if a link on the way from `root` along `path` leads out of `root`.

    `root` itself may be a link, and links to other places below it are fine.
    """
    place = str(root)
    for part in path.split("/"):
        place = f"{place}/{part}"
        if not os.path.islink(place):
            continue
        base = os.path.realpath(root)
        if os.path.commonpath((base, os.path.realpath(place))) != base:
            raise UnreadableError(f"{place} is a link that leads out of it")


def _regular(about: os.stat_result, limit: int | None) -> int:
    if not stat.S_ISREG(about.st_mode):
        raise UnreadableError("it is no regular file")
    if limit is not None and about.st_size > limit:
        raise UnreadableError(f"it has {about.st_size} bytes, expected at most {limit}")
    return about.st_size
