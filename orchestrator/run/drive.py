"""The run itself: ask the store, submit what is missing, and handle what ends, until all tasks ended.

A second run needs nothing from here: results are in the store under their keys, so running again
finds them and repeats at most what was in progress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

from enginebundle.errors import StoreError
from enginebundle.format.digest import Digest, digest_json
from orchestrator.plan.task import Task, Upstream
from orchestrator.run import schedule
from orchestrator.run.executor import Executor
from orchestrator.run.taskgraph import Item, Pool, graph_of
from orchestrator.worker.attempt import Attempt, from_record
from orchestrator.worker.outcome import (
    JSON,
    STOPPED,
    Blocked,
    Built,
    Cached,
    Failed,
    Outcome,
    Skipped,
    kind,
)

DRIVER = "driver"
"""The pool of steps that only write small documents. They run in this process, which has the signing
key, and one at a time, so that a version and its alias have one writer."""
COST = {"trace": 20.0, "build": 30.0, "publish": 1.0, "validate": 10.0, "promote": 1.0}
"""Estimates in seconds; only the order of tasks depends on them."""
_TICK = 1.0
_LOOKUPS = 16


class Results(Protocol):
    """The part of a Store that a run reads."""

    def result(self, key: Digest) -> dict[str, JSON] | None: ...


@dataclass(frozen=True, slots=True)
class Transition:
    """A task's new state: `started`, `retry` or the kind of an outcome."""

    task: str
    state: str
    attempt: int = 0
    outcome: Outcome | None = None
    host: str = ""


@dataclass(frozen=True)
class Farm:
    """Everything that a run uses besides its tasks.

    `identify` returns a task's identity, whose digest is its key; None for a step whose result is
    not kept, which checks for itself whether anything is left to do. `find` gives the record of a task's
    result by its identity; None looks under the identity's digest. `attempt` describes an attempt
    for an executor. `sized` updates a task's memory once the tasks it needs have ended.
    `driver_steps` are the steps that run here, by name. `finish` receives each outcome from an
    executor or the store and may replace it: a validation that ran but did not pass has failed.
    `listen` is called with every transition, `tick` every second or so while something runs.
    """

    results: Results
    identify: Callable[[Task, Upstream], Mapping[str, JSON] | None]
    attempt: Callable[[Task, Mapping[str, JSON], Upstream, int], Attempt]
    executor: Callable[[], Executor]
    sized: Callable[[Task, Upstream], Task]
    driver_steps: Mapping[str, Callable[[Task, Upstream], Outcome]]
    finish: Callable[[Task, Upstream, Outcome], Outcome]
    find: Callable[[Task, Mapping[str, JSON]], Mapping[str, JSON] | None] | None = None
    listen: Callable[[Transition], None] = field(default=lambda _: None)
    tick: Callable[[], None] = field(default=lambda: None)


def drive(tasks: Sequence[Task], farm: Farm) -> tuple[dict[str, Outcome], bool]:
    """Run every task; returns the outcomes by id, and whether Ctrl-C cut the run short.

    Each task must come after those it needs. The executor is made only if something has to run.
    """
    run = _Run(tasks, farm)
    try:
        run.resume()
        run.execute()
    except KeyboardInterrupt:
        run.interrupt()
        return run.outcomes, True
    finally:
        if run.executor is not None:
            run.executor.close()
    return run.outcomes, False


class _Run:
    """One call of `drive`."""

    def __init__(self, tasks: Sequence[Task], farm: Farm) -> None:
        self.tasks = {task.id: task for task in tasks}
        self.farm = farm
        self.outcomes: dict[str, Outcome] = {}
        self.executor: Executor | None = None
        self.running: dict[str, int] = {}
        self.hosts: dict[str, str] = {}
        self.absent: dict[str | None, str] = {}
        self.dependents: dict[str, list[Task]] = {}
        for task in tasks:
            for need in task.needs:
                self.dependents.setdefault(need, []).append(task)

    def resume(self) -> None:
        """Settle the tasks whose results the store already holds, starting from the roots."""
        wave = [task for task in self.tasks.values() if not task.needs]
        with ThreadPoolExecutor(_LOOKUPS) as threads:
            while wave:
                outcomes = list(threads.map(self._look, wave))
                hits = []
                for task, outcome in zip(wave, outcomes, strict=True):
                    # Anything else is handled when the task is due.
                    if isinstance(outcome, Cached):
                        self._settle(task.id, outcome)
                        hits.append(task.id)
                near = {task.id: task for hit in hits for task in self.dependents.get(hit, ())}
                wave = [t for t in near.values() if self.outcomes.keys() >= set(t.needs)]

    def execute(self) -> None:
        """Run the rest through the schedule."""
        rest = [task for task in self.tasks.values() if task.id not in self.outcomes]
        if not rest:
            return
        pools = self._pools(rest)
        graph = graph_of(
            [self._item(task, pools) for task in self.tasks.values()],
            {pool.name: pool for pool in pools.values()}.values(),
        )
        state, commands = schedule.begin(graph, self.outcomes.keys())
        while True:
            events = self._obey(commands)
            if state.over:
                return
            if not events:
                events = self._await()
            state, commands = schedule.advance(graph, state, self._resized(events))

    def _resized(self, events: Iterable[schedule.Ended]) -> list[schedule.Event]:
        """Put before each success the memory that its dependents are now known to need."""
        result: list[schedule.Event] = []
        for event in events:
            if isinstance(event.outcome, Built | Cached):
                known = {event.id: event.outcome.output}
                for task in self.dependents.get(event.id, ()):
                    better = self.farm.sized(task, known).resources.memory
                    if better != task.resources.memory:
                        result.append(schedule.Resized(task.id, better))
            result.append(event)
        return result

    def interrupt(self) -> None:
        """Settle every task that has not ended."""
        for name in self.tasks.keys() - self.outcomes.keys():
            stopped: Outcome = Skipped(None)
            if name in self.running:
                stopped = Failed("cancelled", STOPPED)
            self._settle(name, stopped)

    def _pools(self, rest: Iterable[Task]) -> dict[str | None, Pool]:
        """A pool for each label, and the driver's own under DRIVER."""
        labels = {task.resources.label for task in rest if task.step not in self.farm.driver_steps}
        pools: dict[str | None, Pool] = {DRIVER: Pool(DRIVER, 1)}
        if labels:
            self.executor = self.farm.executor()
            pools.update(self.executor.pools(labels))
        self.absent = {label: pool.absent for label, pool in pools.items() if pool.absent}
        return pools

    def _item(self, task: Task, pools: Mapping[str | None, Pool]) -> Item:
        label = DRIVER if task.step in self.farm.driver_steps else task.resources.label
        task = self.farm.sized(task, self._upstream(task))
        return Item(
            task.id,
            pools.get(label, pools[DRIVER]).name,  # A task that is done needs no pool of its own.
            task.needs,
            task.optional,
            task.resources.cpus,
            task.resources.memory,
            COST[task.step],
            task.blockable,
        )

    def _obey(self, commands: Iterable[schedule.Command]) -> list[schedule.Ended]:
        """Carry out commands; returns what ended at once."""
        events = []
        for command in commands:
            match command:
                case schedule.Settle(name, outcome):
                    self._settle(name, outcome)
                case schedule.Submit(name, attempt):
                    ended = self._submit(self.tasks[name], attempt)
                    if ended is not None:
                        events.append(schedule.Ended(name, attempt, ended))
        return events

    def _submit(self, task: Task, attempt: int) -> Outcome | None:
        self.running[task.id] = attempt
        if (found := self._look(task)) is not None:
            return found
        upstream = self._upstream(task)
        if task.step in self.farm.driver_steps:
            return self.farm.driver_steps[task.step](task, upstream)
        if why := self.absent.get(task.resources.label):
            # Without any machine the whole farm is at fault; without one GPU, only its targets wait.
            return Failed("no-machine", why) if task.resources.label is None else Blocked(why)
        state = "started" if attempt == 1 else "retry"
        self.farm.listen(Transition(task.id, state, attempt))
        identity = self.farm.identify(task, upstream)
        if self.executor is None or identity is None:
            raise RuntimeError(f"task {task.id} has no executor or no key")
        task = self.farm.sized(task, upstream)
        self.executor.submit(self.farm.attempt(task, identity, upstream, attempt))
        return None

    def _look(self, task: Task) -> Outcome | None:
        """The outcome of the result that the store holds, after `finish`; None if there is no result."""
        upstream = self._upstream(task)
        identity = self.farm.identify(task, upstream)
        if identity is None:
            return None
        try:
            if self.farm.find is not None:
                record = self.farm.find(task, identity)
            else:
                record = self.farm.results.result(digest_json(identity))
        except StoreError as error:
            return Failed("infra", f"StoreError: {error}")
        if record is None:
            return None
        return self.farm.finish(task, upstream, from_record(record))

    def _await(self) -> list[schedule.Ended]:
        if self.executor is None:
            raise RuntimeError("nothing is running and nothing is ready: the schedule is stuck")
        ended = self.executor.wait(_TICK)
        self.farm.tick()
        return [self._finished(event) for event in ended if self._current(event)]

    def _current(self, event: schedule.Ended) -> bool:
        """Whether this is the attempt that we are waiting for."""
        return self.running.get(event.id) == event.attempt

    def _finished(self, event: schedule.Ended) -> schedule.Ended:
        task = self.tasks[event.id]
        self.hosts[event.id] = event.host
        return replace(event, outcome=self.farm.finish(task, self._upstream(task), event.outcome))

    def _upstream(self, task: Task) -> Upstream:
        """Outputs of the tasks that this one needs, as far as they exist."""
        found = {need: self.outcomes.get(need) for need in task.needs}
        return {n: o.output for n, o in found.items() if isinstance(o, Built | Cached)}

    def _settle(self, name: str, outcome: Outcome) -> None:
        attempt = self.running.pop(name, 0)
        self.outcomes[name] = outcome
        host = self.hosts.get(name, "")
        self.farm.listen(Transition(name, kind(outcome), attempt, outcome, host))
