"""The system calls that name a file, start a program or open a connection: numbers and arguments.

From Linux's `arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Does = Literal["open", "creat", "look", "link", "write", "run", "socket", "connect"]
EMPTY_PATH = 0x1000
"""AT_EMPTY_PATH: the call is about the descriptor itself."""


@dataclass(frozen=True, slots=True)
class Call:
    """`paths` are pairs of argument positions: (folder's descriptor or None, path). `flags` is the
    position of the flags that decide what happens: how to open, or whether there is no path at all."""

    does: Does
    paths: tuple[tuple[int | None, int], ...] = ()
    flags: int | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """`arch` is AUDIT_ARCH_*; `seccomp` the number of that system call; `directory` is O_DIRECTORY."""

    arch: int
    seccomp: int
    calls: Mapping[int, Call]


_AT = ((0, 1),)
_PLAIN = ((None, 0),)
_OPENAT, _OPENAT2 = Call("open", _AT, 2), Call("open", _AT)
_FSTATAT, _STATX, _ACCESS = Call("look", _AT, 3), Call("look", _AT, 2), Call("look", _AT)
_READLINK, _REMOVE, _MOVE = Call("link", _AT), Call("write", _AT), Call("write", ((0, 1), (2, 3)))
_SYMLINK, _PROGRAM = Call("write", ((1, 2),)), Call("run", _AT)

_BOTH = {437: _OPENAT2, 439: _ACCESS}
"""Calls that have one number on every machine."""
IO_URING_SETUP = 425
"""Opens files without a system call for each: answered with ENOSYS, after which libraries do without."""

_X86_64 = {
    2: Call("open", _PLAIN, 1), 85: Call("creat", _PLAIN), 257: _OPENAT,
    4: Call("look", _PLAIN), 6: Call("look", _PLAIN), 21: Call("look", _PLAIN),
    262: _FSTATAT, 332: _STATX, 269: _ACCESS,
    89: Call("link", _PLAIN), 267: _READLINK,
    76: Call("write", _PLAIN), 82: Call("write", ((None, 0), (None, 1))), 83: Call("write", _PLAIN),
    84: Call("write", _PLAIN), 86: Call("write", ((None, 1),)), 87: Call("write", _PLAIN),
    88: Call("write", ((None, 1),)), 258: _REMOVE, 263: _REMOVE, 264: _MOVE, 316: _MOVE,
    265: Call("write", ((2, 3),)), 266: _SYMLINK,
    59: Call("run", _PLAIN), 322: _PROGRAM, 41: Call("socket"), 42: Call("connect"),
}  # fmt: skip
_AARCH64 = {
    56: _OPENAT, 79: _FSTATAT, 291: _STATX, 48: _ACCESS, 78: _READLINK,
    45: Call("write", _PLAIN), 34: _REMOVE, 35: _REMOVE, 38: _MOVE, 276: _MOVE,
    37: Call("write", ((2, 3),)), 36: _SYMLINK,
    221: Call("run", _PLAIN), 281: _PROGRAM, 198: Call("socket"), 203: Call("connect"),
}  # fmt: skip

MACHINES = {
    "x86_64": Machine(0xC000003E, 317, _X86_64 | _BOTH),
    "aarch64": Machine(0xC00000B7, 277, _AARCH64 | _BOTH),
}


def this_machine() -> Machine | None:
    """The calls of this processor; None on one that is not known, or not on Linux."""
    return MACHINES.get(platform.machine()) if os.uname().sysname == "Linux" else None
