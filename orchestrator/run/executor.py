"""Where attempts run: the protocol, and an executor for this machine that needs no Ray."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import psutil

from orchestrator.run.events import Ended, Started
from orchestrator.run.taskgraph import Pool
from orchestrator.worker.attempt import Attempt, perform
from orchestrator.worker.outcome import Failed, Outcome


class UnreachableError(Exception):
    """The machines that should run the steps can't be reached."""


class Executor(Protocol):
    """Runs attempts somewhere. Must be used by one thread only."""

    def pools(self, labels: Collection[str | None]) -> Mapping[str | None, Pool]:
        """The pool that serves each label; several labels may share a pool.

        A label that no machine has gets a pool whose `absent` gives the reason.
        """
        ...

    def submit(self, attempt: Attempt) -> None:
        """Start an attempt, without waiting for it."""
        ...

    def wait(self, timeout: float) -> Sequence[Ended | Started]:
        """Wait until attempts end, at most `timeout` seconds; returns those that did, and those that
        began if their pool reports it (`Pool.ahead`)."""
        ...

    def close(self) -> None:
        """Kill whatever is still running and release everything."""
        ...


class LocalExecutor:
    """Runs each attempt in a child process, watched by its own thread.

    `archs` are the GPU architectures of this machine (`sm_89`). `jobs` is how many steps may run at
    once (default: one for each core), `memory` how many bytes they may use together.
    """

    def __init__(
        self, jobs: int | None = None, memory: int | None = None, archs: tuple[str, ...] = ()
    ) -> None:
        cores = len(os.sched_getaffinity(0))
        self._memory = memory or machine_memory()
        self._main = Pool("local", jobs or cores, max(cores, jobs or 0), self._memory)
        self._archs = archs
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._asked: queue.SimpleQueue[Attempt | None] = queue.SimpleQueue()
        self._watch = threading.Thread(target=self._start_each, daemon=True)
        self._watch.start()

    def pools(self, labels: Collection[str | None]) -> Mapping[str | None, Pool]:
        """The GPU is a pool of its own, for one step at a time: none disturbs another's timings or
        memory, and none that waits for it holds up a step that needs only a processor. The two pools
        share the memory."""
        main, gpu = self._main, None
        if any(label is not None and serves(label, self._archs) for label in labels):
            main = replace(main, memory=self._memory / 2)
            gpu = Pool("gpu", 1, memory=self._memory / 2)
        return {label: self._pool(label, main, gpu) for label in labels}

    def _pool(self, label: str | None, main: Pool, gpu: Pool | None) -> Pool:
        if label is None:
            return main
        if gpu is not None and serves(label, self._archs):
            return gpu
        return Pool(label, 0, absent=absent_here(label, self._archs))

    def submit(self, attempt: Attempt) -> None:
        self._asked.put(attempt)

    def _start_each(self) -> None:
        """Start a thread for each attempt, then wait for all of them. Python raises Ctrl-C in the main
        thread only: started there, a thread could be half started when `close` joins it."""
        threads: list[threading.Thread] = []
        while (attempt := self._asked.get()) is not None:
            thread = threading.Thread(target=self._work, args=(attempt,), daemon=True)
            thread.start()
            threads = [*(known for known in threads if known.is_alive()), thread]
        for thread in threads:
            thread.join()

    def _work(self, attempt: Attempt) -> None:
        outcome: Outcome = Failed("error", "the thread that watched the step died")
        host = ""
        try:
            outcome, host = perform(attempt, self._stop.is_set)
        finally:
            # The driver waits for this report, whatever happened.
            if (error := sys.exception()) is not None:
                outcome = Failed("error", f"the thread that watched the step died: {error!r}")
            self._ended.put(Ended(attempt.id, attempt.number, outcome, host))

    def wait(self, timeout: float) -> list[Ended]:
        try:
            ended = [self._ended.get(timeout=timeout)]
        except queue.Empty:
            return []
        while not self._ended.empty():
            ended.append(self._ended.get_nowait())
        return ended

    def close(self) -> None:
        self._stop.set()
        self._asked.put(None)
        self._watch.join()


def serves(label: str, archs: Collection[str]) -> bool:
    """Whether one of the architectures satisfies a task's label: `sm_90` or `in(sm_80,sm_86)`."""
    wanted = label.removeprefix("in(").removesuffix(")").split(",")
    return any(arch in archs for arch in wanted)


def absent_here(label: str, archs: Collection[str]) -> str:
    """Why this machine, with GPUs of these architectures, serves no task with that label."""
    wanted = label.removeprefix("in(").removesuffix(")").replace(",", " or ")
    return (
        f"no machine here has {wanted}, only {', '.join(archs) or 'a CPU'}; run on a cluster that has "
        "one (--address), or remove the target"
    )


def machine_memory() -> int:
    """Bytes that tasks may use here together: nine tenths of the machine's or the container's."""
    total = int(psutil.virtual_memory().total)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        limit = "max"
    if limit.isdigit():
        total = min(total, int(limit))
    return total * 9 // 10
