"""What a running step tells the process that watches it, and is told by it: two files in its folder.

    progress.json    {"phases": [{"name", "done", "of"}, ...]}, outermost first; written by the step
    stop             there once the step should end; made by the watching process

A step that has written the first is known to look for the second. The watching process passes progress
on into the store, where `kiln status` finds it, whatever machine the step is on.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enginebundle.errors import BundleError
from enginebundle.storage.store import Store
from orchestrator.plan.task_id import TaskId

if TYPE_CHECKING:
    from compiler.build.progress import Phase

FOLDER = "KILN_STEP_FOLDER"
"""The environment variable that names a step's folder."""
_OFTEN = 0.2
"""Seconds between two writes of the step's own file, which costs a rename."""
_PATIENCE = 20.0
"""The store is written again after this many times the seconds that the last write took."""
_AT_LEAST = 2.0
_END = 5.0
_TOLD, _DEEP = 1 << 16, 16
"""Bytes of a step's own file, and phases in it, that are read."""


class Teller:
    """In the step: the listener of its builds. Called from the builder's threads."""

    def __init__(self, folder: Path) -> None:
        self._file, self._stop = folder / "progress.json", folder / "stop"
        self._due = 0.0
        self._told = ""
        self._lock = threading.Lock()

    def __call__(self, phases: Sequence[Phase]) -> bool:
        """Tell the phases, unless the outermost was told just now. False once the step should end."""
        outermost = phases[0].name if phases else ""
        with self._lock:
            if outermost != self._told or time.monotonic() >= self._due:
                self._told = outermost
                partial = self._file.with_suffix(".partial")
                partial.write_text(json.dumps({"phases": [asdict(phase) for phase in phases]}))
                os.replace(partial, self._file)
                self._due = time.monotonic() + _OFTEN
        return not self._stop.exists()


def teller() -> Teller | None:
    """The step's own; None in a process that nobody watches."""
    folder = os.environ.get(FOLDER)
    return Teller(Path(folder)) if folder else None


class Watch:
    """In the watching process: reads what the step tells, and tells it to stop."""

    def __init__(self, folder: Path, listen: Callable[[dict[str, Any]], None]) -> None:
        self._folder, self._listen = folder, listen
        self._seen = 0

    def look(self) -> None:
        """Pass on what the step has told since the last look."""
        file = self._folder / "progress.json"
        # The step's code can write there what it likes.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            written = file.stat().st_mtime_ns
            if written != self._seen:
                self._seen = written
                told = json.loads(file.read_bytes()[:_TOLD])["phases"][:_DEEP]
                phases = [{k: one[k] for k in ("name", "done", "of")} for one in told]
                self._listen({"phases": phases})

    def ask_to_stop(self) -> bool:
        """Whether the step was asked; one that has told nothing would not notice."""
        if not (self._folder / "progress.json").exists():
            return False
        with contextlib.suppress(OSError):
            (self._folder / "stop").touch()
            return True
        return False


class Relay:
    """Writes an attempt's progress to the store, seldom and beside everything else.

    A store that is slow or away neither delays the watching process nor fails the step.
    """

    def __init__(self, store: Store, run: str, task: str, attempt: int) -> None:
        self._store, self._attempt = store, attempt
        self._path = path(run, task)
        self._due = 0.0
        self._thread: threading.Thread | None = None

    def __call__(self, told: dict[str, Any]) -> None:
        busy = self._thread is not None and self._thread.is_alive()
        if busy or time.monotonic() < self._due:
            return
        date = datetime.now(UTC).isoformat(timespec="milliseconds")
        data = json.dumps(told | {"attempt": self._attempt, "time": date}).encode()
        self._thread = threading.Thread(target=self._put, args=(data,), daemon=True)
        self._thread.start()

    def _put(self, data: bytes) -> None:
        began = time.monotonic()
        # Only for people: if the store failed, the step's result will say so.
        with contextlib.suppress(BundleError):
            self._store.put_file(self._path, data)
        now = time.monotonic()
        self._due = now + max(_AT_LEAST, _PATIENCE * (now - began))

    def close(self) -> None:
        """Wait for the last write."""
        if self._thread is not None:
            self._thread.join(_END)


def path(run: str, task: str) -> str:
    """Where the store keeps the progress of a task's running attempt."""
    return f"runs/{run}/progress/{TaskId.parse(task).file_name}.json"


def text(progress: dict[str, Any]) -> str:
    """`Building engine 2 of 6, Optimizing graph 12 of 30`"""
    return ", ".join(f"{p['name']} {p['done']} of {p['of']}" for p in progress["phases"])
