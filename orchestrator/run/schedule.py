"""What to run next: a pure state machine. `advance(graph, state, events) -> (state', commands)`.

No clock, no threads, no I/O: the same events give the same commands, so every race that a cluster
can produce can be tested as a list of events. A state is a few short byte strings and tuples with
one entry for each task, so making one takes microseconds even with ten thousand tasks.

A task starts when all the tasks it needs have succeeded; of its `optional` needs one is enough, once
all have ended, and its `blockable` needs may also have been blocked. Ready tasks start in the order
of the longest path of work that depends on them, as far as their pool's window, processors and memory
allow. Nothing overtakes a task that waits for room in its pool, so small tasks never starve a big one.
In a pool that somebody else shares out, only so many tasks are submitted ahead of the last that started.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from orchestrator.run.events import Command, Ended, Event, Resized, Settle, Started, Submit
from orchestrator.run.taskgraph import TaskGraph
from orchestrator.worker.outcome import (
    ATTEMPTS,
    Blocked,
    Built,
    Cached,
    Failed,
    Outcome,
    Skipped,
    classify,
)

WAITING, READY, SUBMITTED, RUNNING, DONE, FAILED, SKIPPED, BLOCKED = range(8)
_OVER = (DONE, FAILED, SKIPPED, BLOCKED)


@dataclass(frozen=True, slots=True)
class Usage:
    """What the submitted and running tasks of a pool use; `waiting` of them have not started."""

    count: int = 0
    waiting: int = 0
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
        return self.phases.count(RUNNING) + self.phases.count(SUBMITTED)


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
            case Started(id, attempt):
                edit.started(graph.index[id], attempt)
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
        self.started(n, attempt)
        if self.phases[n] != RUNNING or self.attempts[n] != attempt:
            return
        self._use(n, -1)
        if self._again(attempt, outcome) or self._more(n, outcome):
            self._make_ready(n)
        else:
            self._settle(n, outcome)

    def started(self, n: int, attempt: int) -> None:
        if self.phases[n] == SUBMITTED and self.attempts[n] == attempt:
            self.phases[n] = RUNNING
            pool = self.graph.pool[n]
            self.usage[pool] = replace(self.usage[pool], waiting=self.usage[pool].waiting - 1)

    def _more(self, n: int, outcome: Outcome) -> bool:
        """Whether a task that ran out of memory gets twice as much: its need was only estimated."""
        item, pool = self.graph.items[n], self.graph.pools[self.graph.pool[n]]
        short = isinstance(outcome, Failed) and outcome.code == "memory" and item.guess
        if not short or self.memory[n] >= pool.most:
            return False
        self._set_memory(n, min(2 * self.memory[n], pool.most))
        return True

    def _again(self, attempt: int, outcome: Outcome) -> bool:
        return isinstance(outcome, Failed) and attempt < ATTEMPTS[classify(outcome.code)]

    def resize(self, n: int, memory: float) -> None:
        if self.phases[n] in (WAITING, READY):
            self._set_memory(n, memory)

    def _set_memory(self, n: int, memory: float) -> None:
        changed = list(self.memory)
        changed[n] = memory
        self.memory = tuple(changed)

    def consider(self, first: int) -> None:
        """Decide whether a waiting task, and then what depends on it, can start or never will."""
        work = [first]
        while work:
            n = work.pop()
            if self.phases[n] != WAITING:
                continue
            hindrance = self._hindrance(n)
            if hindrance is not None:
                self.phases[n] = SKIPPED if isinstance(hindrance, Skipped) else BLOCKED
                self._tell(n, hindrance)
                work.extend(self.graph.dependents[n])
            elif all(self.phases[need] in _OVER for need in self.graph.needs[n]):
                self._make_ready(n)

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

    def _hindrance(self, n: int) -> Skipped | Blocked | None:
        """How the task ends without running, if the tasks that it needs leave it no other way."""
        optional, needs = self.graph.optional[n], self.graph.needs[n]
        bad = [need for need in needs if self.phases[need] in (FAILED, SKIPPED)]
        for need in bad:
            if need not in optional:
                return Skipped(self._root(need, (FAILED, SKIPPED)))
        blocked = [need for need in needs if self.phases[need] == BLOCKED]
        for need in blocked:
            if need not in optional and need not in self.graph.blockable[n]:
                return self._blocked_by(need)
        if not optional or any(
            self.phases[m] == DONE or self.phases[m] not in _OVER for m in optional
        ):
            return None
        if bad:
            return Skipped(self._root(bad[0], (FAILED, SKIPPED)))
        return self._blocked_by(blocked[0])

    def _blocked_by(self, need: int) -> Blocked:
        return Blocked(f"needs {self._root(need, (BLOCKED,))}, which no machine here can make")

    def _root(self, n: int, phases: tuple[int, ...]) -> str:
        """The failed or blocked task at the root, even if others stand between it and this one."""
        while self.phases[n] != FAILED:
            causes = [m for m in self.graph.needs[n] if self.phases[m] in phases]
            if not causes:
                break
            n = causes[0]
        return self.graph.items[n].id

    def _settle(self, n: int, outcome: Outcome) -> None:
        match outcome:
            case Built() | Cached():
                self.phases[n] = DONE
            case Failed():
                self.phases[n] = FAILED
            case Skipped():
                self.phases[n] = SKIPPED
            case Blocked():
                self.phases[n] = BLOCKED
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
            reports = self.graph.pools[pool].ahead > 0
            self.phases[n] = SUBMITTED if reports else RUNNING
            self.attempts[n] += 1
            self._use(n, 1, waiting=reports)
            self.commands.append(Submit(self.graph.items[n].id, self.attempts[n], self.memory[n]))
        if start:
            del self._queue(pool)[:start]

    def _need(self, n: int) -> tuple[float, float]:
        """Processors and bytes, limited to the pool's: a task that asks for more than all runs alone."""
        item, pool = self.graph.items[n], self.graph.pools[self.graph.pool[n]]
        return min(item.cpus, pool.cpus), min(self.memory[n], pool.memory)

    def _fits(self, n: int) -> bool:
        pool, used = self.graph.pools[self.graph.pool[n]], self.usage[self.graph.pool[n]]
        cpus, memory = self._need(n)
        return bool(pool.absent) or (
            used.count < pool.window
            and (pool.ahead == 0 or used.waiting < pool.ahead)
            and used.cpus + cpus <= pool.cpus
            and used.memory + memory <= pool.memory
        )

    def _use(self, n: int, sign: int, *, waiting: bool = False) -> None:
        number = self.graph.pool[n]
        used, (cpus, memory) = self.usage[number], self._need(n)
        count = used.count + sign
        # An idle pool uses exactly nothing, whatever is left after rounding.
        self.usage[number] = (
            Usage(
                count,
                used.waiting + waiting,
                used.cpus + sign * cpus,
                used.memory + sign * memory,
            )
            if count
            else Usage()
        )
