"""A running build's progress, and how to stop it: TensorRT's IProgressMonitor.

TensorRT 10.6 and later and TensorRT-RTX have it, and it works without a GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of a build: `done` of `of` steps."""

    name: str
    done: int
    of: int


Listener = Callable[[tuple[Phase, ...]], bool]
"""Called from the builder's threads with the phases that are running, outermost first, after every
step of one. The build goes on as long as it returns True. It must not raise."""


def make_monitor(trt: Any, listener: Listener) -> Any:
    """An IProgressMonitor for a builder's config. `stopped` tells whether the listener ended the build.

    The config does not keep it alive.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped = False
            self._lock = threading.Lock()
            self._running: dict[str, Phase] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            with self._lock:
                self._running[name] = Phase(name, 0, steps)
            self._tell()

        def step_complete(self, name: str, step: int) -> bool:
            with self._lock:
                if name in self._running:
                    self._running[name] = Phase(name, step + 1, self._running[name].of)
            return self._tell()

        def phase_finish(self, name: str) -> None:
            with self._lock:
                if name in self._running:
                    del self._running[name]

        def _tell(self) -> bool:
            with self._lock:
                phases = tuple(self._running.values())
            if not self.stopped and not listener(phases):
                self.stopped = True
            return not self.stopped

    return Monitor()
