"""Runs a judge over many samples in parallel processes, with a time limit for each sample.

    pieces(limits, share) -> what to run, one operator and dtype each
    run(work, judge, ...) -> rows, as they come

A worker that dies or hangs loses only the sample it was at: the sample becomes a row, and a new
worker takes the rest of its piece.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from tests.opinfo.samples import Sample, operators, samples

Row = dict[str, Any]
LIFE = 1500
"""How many samples a worker judges before it ends, to release its memory."""
RETIRED = 75
"""A worker's exit code after a row with `"fatal": true`: it cannot go on, but lost no sample."""
torch.set_num_threads(1)  # a pool of threads would not survive the fork


class Work(Protocol):
    """What a worker is given at once. A dataclass: after a loss, the rest is a copy with more `done`."""

    @property
    def name(self) -> str: ...
    @property
    def done(self) -> frozenset[str]: ...
    def todo(self) -> list[Any]:
        """The samples that are not done, each with an `id`."""
        ...


@dataclass(frozen=True)
class Piece:
    """The samples of one operator and dtype: all or `limit` of them, and of these all or one in `share`, but
    one at least if `least`."""

    op: str
    dtype: str
    limit: int | None = None
    share: int = 1
    least: bool = False
    done: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.op}/{self.dtype}"

    def todo(self) -> list[Sample]:
        all_ = samples(self.op, self.dtype, self.limit)
        chosen = [sample for sample in all_ if sample.within(self.share)]
        if self.least and not chosen:
            chosen = sorted(all_, key=lambda sample: sample.hash)[:1]
        return [sample for sample in chosen if sample.id not in self.done]


def pieces(limits: Mapping[str, int | None], share: int = 1, every: bool = False) -> list[Piece]:
    """Every operator with the dtypes; `limits` gives each dtype's number of samples, None for all.

    `every`: however small the share, each operator has a sample, of the first dtype that it takes.
    """
    found: list[Piece] = []
    met: set[str] = set()
    for dtype, limit in limits.items():
        names = operators(dtype)
        found += [Piece(op, dtype, limit, share, every and op not in met) for op in names]
        met.update(names)
    return found


def run(
    todo: Sequence[Work],
    judge: Callable[[Any], Any],
    jobs: int,
    *,
    seconds: float = 60.0,
    until: float | None = None,
    log: Path = Path(os.devnull),
    start: Literal["fork", "spawn"] = "fork",
) -> Iterator[Row]:
    """Yield a row for each sample: the judge's dataclass as a dict, with the time it took.

    Args:
        judge: turns a sample into a dataclass; called in workers only.
        seconds: the limit for a sample; a slower one gets the state "torch", and the limit as reason.
        until: the time.monotonic() at which to stop.
        log: receives what workers print, including TensorRT's messages.
        start: how workers start; "fork" saves them the imports, CUDA needs "spawn".
    """
    queue = deque[Any](todo)
    workers: list[_Worker] = []
    try:
        while queue or workers:
            while queue and len(workers) < jobs:
                workers.append(_Worker(judge, log, start))
                workers[-1].give(queue.popleft())
            ready = wait([worker.pipe for worker in workers], timeout=1.0)
            for worker in list(workers):
                if worker.pipe in ready:
                    yield from worker.listen(queue)
                elif time.monotonic() - worker.since > seconds:
                    worker.process.kill()
                    yield from worker.lost(queue, "torch", f"not done within {seconds:.0f} s")
                if worker.over:
                    workers.remove(worker)
            if until is not None and time.monotonic() > until:
                return
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()


class _Worker:
    """A process that judges one piece after another."""

    def __init__(self, judge: Callable[[Any], Any], log: Path, start: str) -> None:
        context: Any = multiprocessing.get_context(start)
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, judge, log, os.getpid())
        self.process = context.Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.piece: Any = None
        self.waiting: deque[str] = deque()
        self.past: list[str] = []
        self.since = time.monotonic()
        self.judged = 0
        self.over = False

    def give(self, piece: Work | None) -> None:
        """A piece to judge, or None to end."""
        self.since = time.monotonic()
        self.pipe.send(piece)
        if piece is None:
            self.end()
        else:
            self.piece, self.waiting, self.past = piece, deque(), []

    def listen(self, queue: deque[Any]) -> Iterator[Row]:
        """Take one message: the samples of the piece, a row, or None at its end."""
        try:
            message = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            reason = f"the process ended with exit code {self.process.exitcode}"
            yield from self.lost(queue, "wrong", reason)
            return
        self.since = time.monotonic()
        if isinstance(message, list):
            self.waiting, self.past = deque(message), []
        elif message is not None:
            self.past.append(self.waiting.popleft())
            self.judged += 1
            yield message
        else:
            self.give(queue.popleft() if queue and self.judged < LIFE else None)

    def lost(self, queue: deque[Any], state: str, reason: str) -> Iterator[Row]:
        """A row for the sample that the process was at; the samples after it go back."""
        self.end()
        if not (self.waiting or self.past):  # it made no samples
            yield _row(f"{self.piece.name}/0", "wrong", reason)
            return
        if self.waiting and self.process.exitcode != RETIRED:
            self.past.append(self.waiting.popleft())
            yield _row(self.past[-1], state, reason)
        if self.waiting:
            queue.appendleft(replace(self.piece, done=self.piece.done | {*self.past}))

    def end(self) -> None:
        self.over = True
        self.process.join()
        self.pipe.close()


def _row(sample: str, state: str, reason: str) -> Row:
    return {"sample": sample, "state": state, "reason": reason, "worst": 0.0, "seconds": 0.0}


def _work(pipe: Connection, judge: Callable[[Any], Any], log: Path, parent: int) -> None:
    """For each piece that comes: its samples' names, their rows, None."""
    with log.open("a") as talk:
        os.dup2(talk.fileno(), 1)
        os.dup2(talk.fileno(), 2)
    while True:
        while not pipe.poll(5):
            if os.getppid() != parent:
                return
        piece = pipe.recv()
        if piece is None:
            return
        todo = piece.todo()
        pipe.send([sample.id for sample in todo])
        for sample in todo:
            start = time.monotonic()
            try:
                row = asdict(judge(sample))
            except Exception as error:  # noqa: BLE001 - whatever the compiler raises is a finding
                row = _row(sample.id, "wrong", f"{type(error).__name__}: {error}"[:300])
                traceback.print_exc()
            pipe.send(row | {"seconds": round(time.monotonic() - start, 3)})
            if row.get("fatal"):
                sys.exit(RETIRED)
        pipe.send(None)
