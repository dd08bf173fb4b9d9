"""Where attempts run: the protocol, and the executor of this machine without Ray."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

import psutil

from orchestrator.run.schedule import Ended
from orchestrator.run.taskgraph import Pool
from orchestrator.worker.attempt import Attempt, perform


class UnreachableError(Exception):
    """The machines that were to run the steps can't be reached."""


class Executor(Protocol):
    """Runs attempts somewhere. Used by one thread."""

    def pools(self, labels: Collection[str | None]) -> Mapping[str | None, Pool]:
        """For each label of a task the pool that serves it; several labels may share one.

        A label without any machine gets a pool whose `absent` says so.
        """
        ...

    def submit(self, attempt: Attempt) -> None:
        """Start an attempt. Never blocks on its work."""
        ...

    def wait(self, timeout: float) -> list[Ended]:
        """The attempts that ended, at most `timeout` seconds from now; empty if nothing did."""
        ...

    def close(self) -> None:
        """Kill what still runs and let go of everything."""
        ...


class LocalExecutor:
    """Child processes of this process, one a running task, watched by one thread each.

    `archs` are the GPU architectures of this machine (`sm_89`). `jobs` is how many steps may run at
    once (default: one a core), `memory` how many bytes they may use together.
    """

    def __init__(
        self, jobs: int | None = None, memory: int | None = None, archs: tuple[str, ...] = ()
    ) -> None:
        cores = len(os.sched_getaffinity(0))
        self._main = Pool("local", jobs or cores, max(cores, jobs or 0), memory or machine_memory())
        self._archs = archs
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._gpu = threading.Lock()
        self._stop = threading.Event()
        self._threads: set[threading.Thread] = set()

    def pools(self, labels: Collection[str | None]) -> Mapping[str | None, Pool]:
        return {label: self._pool(label) for label in labels}

    def _pool(self, label: str | None) -> Pool:
        if label is None or serves(label, self._archs):
            return self._main
        return Pool(
            label,
            0,
            absent=f"no machine of {label} here, only {', '.join(self._archs) or 'the CPU'}; "
            "run on a cluster that has one (--address) or take the target out",
        )

    def submit(self, attempt: Attempt) -> None:
        thread = threading.Thread(target=self._work, args=(attempt,), daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self, attempt: Attempt) -> None:
        # One step at a time on the GPU: its timings and its memory are not to be shared.
        with self._gpu if attempt.label else contextlib.nullcontext():
            outcome, host = perform(attempt, self._stop.is_set)
        self._ended.put(Ended(attempt.id, attempt.number, outcome, host))

    def wait(self, timeout: float) -> list[Ended]:
        try:
            ended = [self._ended.get(timeout=timeout)]
        except queue.Empty:
            return []
        while not self._ended.empty():
            ended.append(self._ended.get_nowait())
        self._threads = {thread for thread in self._threads if thread.is_alive()}
        return ended

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def serves(label: str, archs: Collection[str]) -> bool:
    """Whether one of the architectures satisfies a task's label: `sm_90` or `in(sm_80,sm_86)`."""
    wanted = label.removeprefix("in(").removesuffix(")").split(",")
    return any(arch in archs for arch in wanted)


def machine_memory() -> int:
    """Bytes tasks may use here together: nine tenths of the machine's, or of the container's."""
    total = int(psutil.virtual_memory().total)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        limit = "max"
    if limit.isdigit():
        total = min(total, int(limit))
    return total * 9 // 10
