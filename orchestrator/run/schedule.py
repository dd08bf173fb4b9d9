"""What to run next: a pure state machine. `advance(graph, state, events) -> (state', commands)`.

No clock, no threads, no I/O: the same events give the same commands, so every race that a cluster
can produce can be tested as a list of events. A state is a few short byte strings and tuples with
one entry for each task, so making one takes microseconds even with ten thousand tasks.

A task starts when all the tasks it needs have succeeded; of its `optional` needs one is enough, once
all have ended. Ready tasks start in the order of the longest path of work that depends on them, as
far as their pool's window, processors and memory allow. Nothing overtakes a task that waits for room
in its pool, so small tasks never starve a big one.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from orchestrator.run.taskgraph import TaskGraph
from orchestrator.worker.outcome import ATTEMPTS, Built, Cached, Failed, Outcome, Skipped, classify

WAITING, READY, RUNNING, DONE, FAILED, SKIPPED = range(6)
_OVER = (DONE, FAILED, SKIPPED)


@dataclass(frozen=True, slots=True)
class Ended:
    """A task's attempt is over, on `host`. Attempts that are not the current one are ignored."""

    id: str
    attempt: int
    outcome: Outcome
    host: str = ""


@dataclass(frozen=True, slots=True)
class Resized:
    """A task that has not started is now known to need this much memory, in bytes."""

    id: str
    memory: float


@dataclass(frozen=True, slots=True)
class Submit:
    """Run this task. Attempts count from 1."""

    id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Settle:
    """The task has ended, finally, with this outcome. Exactly one for each task."""

    id: str
    outcome: Outcome


Event = Ended | Resized
Command = Submit | Settle


@dataclass(frozen=True, slots=True)
class Usage:
    """What the running tasks of a pool use."""

    count: int = 0
    cpus: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """`phases` and `attempts` have a byte for each task, `memory` its bytes; `ready` has indexes by pool."""

    phases: bytes
    attempts: bytes
    memory: tuple[float, ...]
    ready: tuple[tuple[int, ...], ...]
    usage: tuple[Usage, ...]

    @property
    def over(self) -> bool:
        """Whether every task has ended."""
        return all(phase in _OVER for phase in set(self.phases))

    @property
    def running(self) -> int:
        return self.phases.count(RUNNING)


def begin(graph: TaskGraph, done: Collection[str] = ()) -> tuple[State, tuple[Command, ...]]:
    """The first state and commands. Tasks in `done` already have their results."""
    count = len(graph.items)
    phases = bytearray(count)
    for name in done:
        phases[graph.index[name]] = DONE
    state = State(
        bytes(phases),
        bytes(count),
        tuple(item.memory for item in graph.items),
        ((),) * len(graph.pools),
        (Usage(),) * len(graph.pools),
    )
    edit = _Edit(graph, state)
    for n in range(count):
        edit.consider(n)
    return edit.finish()


def advance(
    graph: TaskGraph, state: State, events: Iterable[Event]
) -> tuple[State, tuple[Command, ...]]:
    """Process what happened, in order; returns the new state and what to do now."""
    edit = _Edit(graph, state)
    for event in events:
        match event:
            case Ended(id, attempt, outcome):
                edit.ended(graph.index[id], attempt, outcome)
            case Resized(id, memory):
                edit.resize(graph.index[id], memory)
    return edit.finish()


class _Edit:
    """A state that is being changed. Never leaves this file."""

    def __init__(self, graph: TaskGraph, state: State) -> None:
        self.graph = graph
        self.state = state
        self.phases = bytearray(state.phases)
        self.attempts = bytearray(state.attempts)
        self.memory = state.memory
        self.ready: dict[int, list[int]] = {}
        self.usage = list(state.usage)
        self.commands: list[Command] = []

    def ended(self, n: int, attempt: int, outcome: Outcome) -> None:
        if self.phases[n] != RUNNING or self.attempts[n] != attempt:
            return
        self._use(n, -1)
        if self._again(attempt, outcome):
            self._make_ready(n)
        else:
            self._settle(n, outcome)

    def _again(self, attempt: int, outcome: Outcome) -> bool:
        return isinstance(outcome, Failed) and attempt < ATTEMPTS[classify(outcome.code)]

    def resize(self, n: int, memory: float) -> None:
        if self.phases[n] in (WAITING, READY):
            self.memory = (*self.memory[:n], memory, *self.memory[n + 1 :])

    def consider(self, first: int) -> None:
        """Decide whether a waiting task, and then what depends on it, can start or never will."""
        work = [first]
        while work:
            n = work.pop()
            if self.phases[n] != WAITING:
                continue
            verdict = self._verdict(n)
            if verdict is None:
                continue
            absent = self.graph.pools[self.graph.pool[n]].absent
            if verdict:
                self.phases[n] = SKIPPED
                self._tell(n, Skipped(verdict))
            elif absent:
                self.phases[n] = FAILED
                self._tell(n, Failed("no-machine", absent))
            else:
                self._make_ready(n)
                continue
            work.extend(self.graph.dependents[n])

    def finish(self) -> tuple[State, tuple[Command, ...]]:
        for pool in range(len(self.graph.pools)):
            self._dispatch(pool)
        ready = tuple(
            tuple(self.ready[pool]) if pool in self.ready else old
            for pool, old in enumerate(self.state.ready)
        )
        state = State(
            bytes(self.phases),
            bytes(self.attempts),
            self.memory,
            ready,
            tuple(self.usage),
        )
        return state, tuple(self.commands)

    def _verdict(self, n: int) -> str | None:
        """None: not decided yet. Empty: may run. Else the failed task because of which it is skipped."""
        optional = self.graph.optional[n]
        bad = [need for need in self.graph.needs[n] if self.phases[need] in (FAILED, SKIPPED)]
        for need in bad:
            if need not in optional:
                return self._root(need)
        if any(self.phases[need] not in _OVER for need in self.graph.needs[n]):
            return None
        if optional and not any(self.phases[need] == DONE for need in optional):
            return self._root(bad[0])
        return ""

    def _root(self, n: int) -> str:
        """The failed task at the root, even if others between it and this one were skipped."""
        while self.phases[n] == SKIPPED:
            n = next(m for m in self.graph.needs[n] if self.phases[m] in (FAILED, SKIPPED))
        return self.graph.items[n].id

    def _settle(self, n: int, outcome: Outcome) -> None:
        match outcome:
            case Built() | Cached():
                self.phases[n] = DONE
            case Failed():
                self.phases[n] = FAILED
            case Skipped():
                self.phases[n] = SKIPPED
        self._tell(n, outcome)
        for dependent in self.graph.dependents[n]:
            self.consider(dependent)

    def _tell(self, n: int, outcome: Outcome) -> None:
        self.commands.append(Settle(self.graph.items[n].id, outcome))

    def _queue(self, pool: int) -> list[int]:
        if pool not in self.ready:
            self.ready[pool] = list(self.state.ready[pool])
        return self.ready[pool]

    def _make_ready(self, n: int) -> None:
        self.phases[n] = READY
        bisect.insort(self._queue(self.graph.pool[n]), n)

    def _dispatch(self, pool: int) -> None:
        start = 0
        ready = self.ready.get(pool, self.state.ready[pool])
        while start < len(ready) and self._fits(ready[start]):
            n = ready[start]
            start += 1
            self.phases[n] = RUNNING
            self.attempts[n] += 1
            self._use(n, 1)
            self.commands.append(Submit(self.graph.items[n].id, self.attempts[n]))
        if start:
            del self._queue(pool)[:start]

    def _need(self, n: int) -> tuple[float, float]:
        """Processors and bytes, limited to the pool's: a task that asks for more than all runs alone."""
        item, pool = self.graph.items[n], self.graph.pools[self.graph.pool[n]]
        return min(item.cpus, pool.cpus), min(self.memory[n], pool.memory)

    def _fits(self, n: int) -> bool:
        pool, used = self.graph.pools[self.graph.pool[n]], self.usage[self.graph.pool[n]]
        cpus, memory = self._need(n)
        return (
            used.count < pool.window
            and used.cpus + cpus <= pool.cpus
            and used.memory + memory <= pool.memory
        )

    def _use(self, n: int, sign: int) -> None:
        number = self.graph.pool[n]
        used, (cpus, memory) = self.usage[number], self._need(n)
        count = used.count + sign
        # An idle pool uses exactly nothing, whatever is left after rounding.
        self.usage[number] = (
            Usage(count, used.cpus + sign * cpus, used.memory + sign * memory) if count else Usage()
        )
