"""Hold a key while its task runs, so that two runs that want the same do not both make it.

Whoever comes second waits for the first one's result. A holder that is dead is replaced: at once if it was a
process of this machine or an earlier attempt of the same run, else when its heartbeat has not changed for a
while. That is judged by the waiting side's own clock. The number that it then claims is a fence: the old
holder, should it come back, finds a higher one and replaces nothing.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import psutil

from enginebundle.errors import BundleError
from enginebundle.format.digest import Digest
from enginebundle.storage.store import Store

T = TypeVar("T")
BEAT = 5.0
STALE = 30.0
"""Seconds between two heartbeats, and seconds without one after which a holder counts as dead."""
_LOOK = 0.5


class Holder:
    """One attempt's hold on a key; `with` gives it up at the end. `task` is run, task and attempt."""

    def __init__(self, store: Store, key: Digest, run: str, task: str, attempt: int) -> None:
        self._store, self._key = store, key
        self._mine: dict[str, Any] = {
            "id": uuid.uuid4().hex, "run": run, "task": task, "attempt": attempt, "beat": 0, **this_process(),
        }  # fmt: skip
        self.number = 0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Holder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            with contextlib.suppress(BundleError):  # then it goes stale
                self._store.release_key(self._key, self.number)

    def wait(self, found: Callable[[], T | None], cancelled: Callable[[], bool]) -> T | None:
        """What `found` finds once it does; else None, and this process holds the key, or was cancelled."""
        last: Any = None
        since = time.monotonic()
        while not cancelled():
            if (result := found()) is not None:
                return result
            number, document = self._store.key_lease(self._key)
            if document != last:
                last, since = document, time.monotonic()
            if document is not None and not self._dead(document, time.monotonic() - since):
                time.sleep(_LOOK)
            elif self._store.claim_key(self._key, number + 1, self._mine):
                self.number = number + 1
                self._thread = threading.Thread(target=self._beat, daemon=True)
                self._thread.start()
                return found()  # it may have been recorded just before the last holder let go
        return None

    def holds(self) -> bool:
        """Whether nobody has taken the key over."""
        number, document = self._store.key_lease(self._key)
        return number == self.number and (document or {}).get("id") == self._mine["id"]

    def _dead(self, document: dict[str, Any], quiet: float) -> bool:
        earlier = (document.get("run"), document.get("task")) == (
            self._mine["run"],
            self._mine["task"],
        )
        if earlier and int(document.get("attempt", 0)) < self._mine["attempt"]:
            return True
        return quiet > STALE or gone(document)

    def _beat(self) -> None:
        while not self._done.wait(BEAT):
            after = self._mine | {"beat": self._mine["beat"] + 1}
            with contextlib.suppress(BundleError):
                if not self._store.beat_key(self._key, self.number, self._mine, after):
                    return
                self._mine = after


def this_process() -> dict[str, Any]:
    """Names this process among all on all machines, as far as one may still see whether it lives."""
    return {"machine": _machine(), "pid": os.getpid(), "born": psutil.Process().create_time()}


def gone(document: dict[str, Any]) -> bool:
    """Whether the document names a process of this machine that is no more."""
    if document.get("machine") != _machine() or not _machine():
        return False
    try:
        return bool(psutil.Process(int(document["pid"])).create_time() != document["born"])
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _machine() -> str:
    """This boot of this machine and this process's view of its processes; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""
