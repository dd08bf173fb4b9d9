"""The folders that this machine's user has for keys, memory and copies."""

from __future__ import annotations

import os
from pathlib import Path

from enginebundle.errors import StoreError


def home() -> Path:
    """The folder of this machine's key and of the keys it trusts. StoreError if there can be none."""
    return _folder("ENGINEBUNDLE_HOME", ".config")


def cache_folder() -> Path:
    """Where copies of a remote store's blobs are kept on this machine. StoreError if there can be none."""
    return _folder("ENGINEBUNDLE_CACHE", ".cache")


def expand(path: str) -> Path:
    """An absolute path, with `~` as the user's home. StoreError if that is nowhere."""
    try:
        return Path(path).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # OSError: the working folder was removed
        raise StoreError(f"folder {path!r}: {error}. Name it from the root on") from error


def _folder(variable: str, below: str) -> Path:
    named = os.environ.get(variable)
    if named:
        return Path(named)
    try:
        return Path.home() / below / "enginebundle"
    except RuntimeError as error:
        # Such as in a container that runs under a number that no user has.
        raise StoreError(
            f"this user has no home folder ({error}): set HOME, or {variable} to a folder"
        ) from error
