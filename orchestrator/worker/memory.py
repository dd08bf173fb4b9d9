"""How much memory a process and its descendants hold. Reads only what /proc has about them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import psutil

_PAGE = os.sysconf("SC_PAGE_SIZE")
_GONE = (FileNotFoundError, ProcessLookupError)
"""What reading about a process or thread raises that has just ended: one or the other, by how far it was."""


def held(pid: int, cap: int) -> int:
    """Bytes that the tree holds. Shared pages are counted once only above `cap`, as that costs more."""
    tree = list(family(pid))
    resident = sum(map(_resident, tree))
    return resident if resident <= cap else sum(map(_proportional, tree))


def family(pid: int) -> Iterator[int]:
    """The process and its descendants, as far as they are alive."""
    left = [pid]
    while left:
        one = left.pop()
        yield one
        left += _children(one)


def _children(pid: int) -> list[int]:
    if not _HAS_CHILDREN:
        try:
            return [child.pid for child in psutil.Process(pid).children()]
        except psutil.NoSuchProcess:
            return []
    found: list[int] = []
    with contextlib.suppress(*_GONE):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(*_GONE):
                found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def _resident(pid: int) -> int:
    try:
        return int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        lines = _read(f"/proc/{pid}/smaps_rollup").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


_HAS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
