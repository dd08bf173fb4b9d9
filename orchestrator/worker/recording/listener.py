"""Seccomp's user notifications: a filter in the step, and the guard that answers what it reports.

`seccomp(2)` and `seccomp_unotify(2)` describe the calls. The guard lets every call go on, after it
has looked at the file itself, except those that are refused.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import itertools
import os
import struct
from collections.abc import Sequence
from typing import Protocol

from orchestrator.worker.recording.syscalls import EMPTY_PATH, IO_URING_SETUP, Call, Machine

_NO_NEW_PRIVILEGES = 38
_SET_FILTER, _NEW_LISTENER = 1, 8
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTIFY, _ALLOW, _ERROR = 0x7FC00000, 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_LOCAL = (1, 16)
"""AF_UNIX and AF_NETLINK: sockets that reach nothing outside this machine by themselves."""
_HERE = -100
_PAGE = 4096
_LONGEST = 4096
_WORDS = 16
_GO_ON = 1

_libc = ctypes.CDLL(None, use_errno=True)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))


class _Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def install(machine: Machine) -> int:
    """Put the filter on this thread and everything it starts; returns the listener's descriptor.

    OSError where the kernel offers no notifications (before 5.5, or in some sandboxes).
    """
    code = program(machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    whole = _Filter(len(code) // 8, ctypes.addressof(buffer))
    if _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    found = _libc.syscall(machine.seccomp, _SET_FILTER, _NEW_LISTENER, ctypes.byref(whole))
    if found < 0:
        raise OSError(ctypes.get_errno(), "seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)")
    return int(found)


def program(machine: Machine) -> bytes:
    """The filter as BPF: notify of the machine's calls, without those that name no file."""

    def line(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    def returns(value: int) -> bytes:
        return line(_RETURN, 0, 0, value)

    lines = [line(_LOAD, 0, 0, _ARCH), line(_EQUAL, 1, 0, machine.arch), returns(_ALLOW)]
    lines += [line(_LOAD, 0, 0, _NUMBER)]
    lines += [line(_EQUAL, 0, 1, IO_URING_SETUP), returns(_ERROR | errno.ENOSYS)]
    for number, call in machine.calls.items():
        body = [returns(_NOTIFY)]
        if call.does == "socket":
            tests = [line(_EQUAL, 0, 1, family) + returns(_ALLOW) for family in _LOCAL]
            body = [line(_LOAD, 0, 0, _ARGUMENTS), *tests, *body]
        elif call.does == "look" and call.flags is not None:
            flags = line(_LOAD, 0, 0, _ARGUMENTS + 8 * call.flags)
            body = [flags, line(_ANY_BIT, 0, 1, EMPTY_PATH), returns(_ALLOW), *body]
        whole = b"".join(body)
        lines += [line(_EQUAL, 0, len(whole) // 8, number), whole]
    return b"".join([*lines, returns(_ALLOW)])


class Sees(Protocol):
    """Who is told of each call. Paths are absolute. False refuses the call."""

    def open(self, path: str, flags: int, thread: int) -> bool: ...
    def look(self, path: str, thread: int) -> None: ...
    def link(self, path: str, thread: int) -> None: ...
    def write(self, path: str) -> None: ...
    def run(self, path: str, words: Sequence[str]) -> bool: ...
    def connect(self, address: str) -> bool: ...


class Listener:
    """Reads and answers the notifications of one filter."""

    def __init__(self, machine: Machine, descriptor: int, sees: Sees) -> None:
        self.descriptor = descriptor
        self._calls, self._sees = machine.calls, sees
        self._buffer = bytearray(80)
        self._page = ctypes.create_string_buffer(_PAGE)

    def answer(self) -> None:
        """Take one notification, tell `sees`, and let the call go on or refuse it."""
        self._buffer[:] = bytes(80)
        try:
            fcntl.ioctl(self.descriptor, _RECEIVE, self._buffer)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):  # The caller was killed meanwhile.
                return
            raise
        found = struct.unpack("QIIiIQ6Q", self._buffer)
        number, thread, arguments = found[0], found[1], found[6:]
        allowed = self._tell(self._calls[found[3]], thread, arguments)
        reply = (0, _GO_ON) if allowed else (-errno.EACCES, 0)
        try:
            fcntl.ioctl(self.descriptor, _SEND, struct.pack("QqiI", number, 0, *reply))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def _tell(self, call: Call, thread: int, arguments: tuple[int, ...]) -> bool:
        if call.does == "socket":
            return self._sees.connect("the network")
        if call.does == "connect":
            return self._connect(thread, arguments)
        for folder, place in call.paths:
            path = self._path(
                thread, None if folder is None else arguments[folder], arguments[place]
            )
            if not path:
                continue
            match call.does:
                case "open":
                    return self._sees.open(path, self._flags(call, thread, arguments), thread)
                case "creat":
                    self._sees.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, thread)
                case "look":
                    self._sees.look(path, thread)
                case "link":
                    self._sees.link(path, thread)
                case "write":
                    self._sees.write(path)
                case "run":
                    return self._sees.run(path, self._words(thread, arguments[place + 1]))
        return True

    def _flags(self, call: Call, thread: int, arguments: tuple[int, ...]) -> int:
        if call.flags is not None:
            return arguments[call.flags] & 0xFFFFFFFF
        how = self._read(thread, arguments[2], 8)  # openat2: struct open_how begins with the flags
        return int.from_bytes(how, "little") if len(how) == 8 else 0

    def _connect(self, thread: int, arguments: tuple[int, ...]) -> bool:
        """A connection to another process on this machine; others are refused as sockets."""
        address = self._read(thread, arguments[1], min(arguments[2], 110))
        if address[:2] != b"\1\0":
            return True
        return self._sees.connect(f"socket {os.fsdecode(address[2:].strip(bytes(1)))}")

    def _path(self, thread: int, folder: int | None, address: int) -> str:
        """The absolute path behind a pointer; empty for no path, or if the process is gone."""
        path = os.fsdecode(self._text(thread, address))
        if path.startswith("/") or not path:
            return path
        number = _HERE if folder is None else ctypes.c_int32(folder & 0xFFFFFFFF).value
        place = f"/proc/{thread}/" + ("cwd" if number == _HERE else f"fd/{number}")
        try:
            return os.path.join(os.readlink(place), path)
        except OSError:
            return ""

    def _words(self, thread: int, address: int) -> list[str]:
        """The first words of a command line: the array behind a pointer to pointers."""
        data = self._read(thread, address, min(8 * _WORDS, _PAGE - address % _PAGE))
        pointers = struct.unpack(f"{len(data) // 8}Q", data[: len(data) // 8 * 8])
        return [
            os.fsdecode(self._text(thread, pointer))
            for pointer in itertools.takewhile(bool, pointers)
        ]

    def _text(self, thread: int, address: int) -> bytes:
        """The bytes up to the first zero. Reads to the end of a page, beyond which nothing may be."""
        text = b""
        while len(text) < _LONGEST:
            got = self._read(thread, address, _PAGE - address % _PAGE)
            end = got.find(0)
            if end >= 0 or not got:
                return text + got[: max(end, 0)]
            text, address = text + got, address + len(got)
        return text

    def _read(self, thread: int, address: int, length: int) -> bytes:
        here = _Piece(ctypes.addressof(self._page), length)
        there = _Piece(address, length)
        got = _libc.process_vm_readv(thread, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
        return self._page.raw[:got] if got > 0 else b""
