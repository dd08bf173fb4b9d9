"""Between a step and its guard: where a recording begins and ends, and who notes it.

The guard opens a Session before it forks. In the step, `window()` marks what is recorded: the user's
code and what it imports, not the store's own traffic before and after.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from compiler.refused import Refused
from orchestrator.worker.recording import hooks
from orchestrator.worker.recording.listener import Listener, install
from orchestrator.worker.recording.observer import MARK, Observer
from orchestrator.worker.recording.syscalls import this_machine

NATIVE = "files that native code reads (this kernel offers no seccomp notifications)"


class Unrecorded(Refused):
    """What the step would read can't be recorded, and the manifest does not allow that."""

    def __init__(self) -> None:
        super().__init__(
            "unrecorded",
            f"a step's reads can't be recorded here: {NATIVE}",
            "run it on Linux 5.5 or newer, in a container whose profile allows seccomp, or set "
            "`unrecorded: allow`: the plan then names what no key knows of",
        )


class Session:
    """A recording that a step may make. `request` is {apart, refuses}, see request.py."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._observer = Observer(request["apart"], request["refuses"])
        self._guards, self._steps = socket.socketpair()
        self._listener: Listener | None = None

    # In the guard.

    def forked(self) -> int:
        """Let go of the step's side. Returns the descriptor to wait for."""
        self._steps.close()
        return self._guards.fileno()

    def answer(self, asked: bool) -> int | None:
        """Handle what was waited for, if it asked for anything rather than ended. Returns what to wait
        for next: None once nothing more can come."""
        if self._listener is not None:
            if asked:
                self._listener.answer()
            return self._listener.descriptor if asked else None
        data, found, _, _ = socket.recv_fds(self._guards, 1, 1)
        machine = this_machine()
        if not data or not found or machine is None:
            return None  # The step records nothing, or does without this process.
        self._listener = Listener(machine, found[0], self._observer)
        self._guards.sendall(b"!")
        return self._listener.descriptor

    def finish(self) -> dict[str, Any] | None:
        """What was recorded, if the step made a recording that this process saw."""
        return None if self._listener is None else self._observer.finish().to_json()

    # In the step.

    def begin(self) -> None:
        """Record from here on everything that this thread reads and starts."""
        global _tell
        self._guards.close()
        machine = this_machine()
        try:
            if machine is None:
                raise OSError("no table of system calls for this machine")
            listener = install(machine)
        except OSError:
            self._steps.close()
            self._begin_without()
        else:
            socket.send_fds(self._steps, [b"!"], [listener])
            self._steps.recv(1)
            os.close(listener)
            _tell = _through_the_kernel
        hooks.install(tell)

    def _begin_without(self) -> None:
        """Record what Python itself opens, and say that the rest is missing."""
        global _tell
        observer = self._observer
        if observer.record.refused:
            raise Unrecorded
        observer.on = True
        observer.tell("unrecorded", NATIVE, 0)
        observer.on = False
        _tell = observer.look
        sys.addaudithook(lambda event, details: _audit(observer, event, details))

    def own(self) -> dict[str, Any] | None:
        """What this process itself has recorded, since the guard could not."""
        if _tell in (None, _through_the_kernel):
            return None
        return self._observer.finish().to_json()


def _audit(observer: Observer, event: str, details: tuple[Any, ...]) -> None:
    """What Python tells of itself, where the kernel can't."""
    thread = threading.get_ident()
    path = os.path.abspath(os.fsdecode(details[0])) if _names_file(event, details) else ""
    if event == "open" and path:
        observer.open(path, details[2] or 0, thread)
    elif event in ("os.listdir", "os.scandir") and path:
        observer.open(path, os.O_RDONLY, thread)
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate") and path:
        observer.write(path)
    elif event == "os.rename":
        for moved in details[:2]:
            observer.write(os.path.abspath(os.fsdecode(moved)))
    elif event in ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.system"):
        observer.run(str(details[0]))
    elif event == "socket.connect":
        observer.connect("the network")


def _names_file(event: str, details: tuple[Any, ...]) -> bool:
    return bool(details) and isinstance(details[0], str | bytes)


def _through_the_kernel(path: str, _: int) -> None:
    os.access(path, os.F_OK)


_session: Session | None = None
_hidden: Sequence[str] = ()
_tell: Any = None


def arm(session: Session | None, hidden: Sequence[str] = ()) -> None:
    """In the step's process: what `window` records with; None for a step that is not recorded. Files that are
    `hidden` from this process look otherwise to its guard, and do not count."""
    global _session, _hidden
    _session, _hidden = session, hidden


def tell(word: str, *rest: str) -> None:
    """Tell the observer something that only this process knows."""
    _tell(MARK + "/".join((word, *rest)), threading.get_ident())


@contextmanager
def window() -> Iterator[None]:
    """Everything read inside is recorded, in this thread and all that it starts, if the step is."""
    if _session is None:
        yield
        return
    if _tell is None:
        _session.begin()
        for path in _hidden:
            tell("apart", path)
    tell("begin")
    try:
        yield
    finally:
        tell("end")


def finish() -> dict[str, Any] | None:
    """In the step's process: the record, if it had to make that itself."""
    return None if _session is None else _session.own()
