"""Hide files from this process and all it starts, in a mount namespace of its own. Linux only.

A step's process calls it before it imports anything. It holds back code that looks around or cleans up
carelessly; it is no prison for code that means harm: for that, run steps as another user or in a container.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_NOSUID, _NODEV, _NOEXEC = 2, 4, 8


def confine(hide: Sequence[str], keep: Sequence[str], users: bool = True) -> str:
    """Hide the paths `hide`, and let nothing below the folders `keep` be changed.

    `users`: where a mount namespace needs a user namespace, make one. Returns why it could not be done, or
    nothing.
    """
    if sys.platform != "linux" or not (hide or keep):
        return ""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _unshare(libc, users)
        _mount(libc, "none", "/", _REC | _PRIVATE)
        for path in hide:
            if os.path.isdir(path):
                _mount(libc, "none", path, _RDONLY | _NOSUID | _NODEV | _NOEXEC, "tmpfs")
            else:
                _mount(libc, os.devnull, path, _BIND)
        for path in keep:
            _mount(libc, path, path, _BIND | _REC)
            # A mount's flags can only be added to, so those that it has are asked for again.
            flags = (
                _REMOUNT
                | _BIND
                | _RDONLY
                | (os.statvfs(path).f_flag & (_NOSUID | _NODEV | _NOEXEC))
            )
            _mount(libc, "none", path, flags)
    except OSError as error:
        return str(error)
    return ""


def _unshare(libc: ctypes.CDLL, users: bool) -> None:
    if libc.unshare(_NEWNS) == 0:
        return
    user, group = os.geteuid(), os.getegid()
    if not users or libc.unshare(_NEWNS | _NEWUSER) != 0:
        raise OSError("no mount namespace may be made here")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _mount(libc: ctypes.CDLL, source: str, target: str, flags: int, kind: str = "") -> None:
    done = libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), None
    )
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount: {os.strerror(number)}", target)
