"""What several commands share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from enginebundle.errors import NotFoundError, StoreError
from enginebundle.storage.store import Store
from orchestrator.manifest.errors import nearest


class UsageError(Exception):
    """The command can't be carried out as given: exit code 2."""


def open_store(given: str, *, create: bool = False) -> Store:
    """Open the store. A folder's path becomes absolute, because steps run in other folders.

    UsageError if it is a folder that can't be used, StoreError if a remote one can't be reached.
    """
    if "://" in given or not given or given.split("/")[0].endswith(":"):
        return Store.open(given, create=create)
    path = Path(given).expanduser().absolute()
    try:
        return Store.open(str(path), create=create)
    except NotFoundError as error:
        raise UsageError(f"{error}; `kiln run` creates it") from error
    except (StoreError, OSError) as error:
        raise UsageError(f"store {path} can't be used: {error}") from error


def local_archs() -> tuple[str, ...]:
    """The architecture of this machine's first GPU, such as `sm_89`; empty without one."""
    from enginebundle.serve.machine import this_machine

    arch = this_machine().arch
    return () if arch is None else (arch,)


def print_json(value: Any) -> None:
    """Print JSON to stdout, for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as left-aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def unknown(what: str, given: str, known: list[str]) -> UsageError:
    """An error that suggests the closest known spelling."""
    return UsageError(f"no {what} {given!r}{nearest(given, known)}")
