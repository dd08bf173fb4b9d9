"""The run itself: ask the store, submit what is missing, and handle what ends, until all tasks ended.

A second run needs nothing from here: results are in the store under their keys, so running again
finds them and repeats at most what was in progress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from enginebundle.errors import StoreError
from enginebundle.format.digest import Digest, digest_json
from orchestrator.plan.task import Task, Upstream
from orchestrator.run import schedule
from orchestrator.run.events import Command, Ended, Event, Resized, Settle, Started, Submit
from orchestrator.run.executor import Executor
from orchestrator.run.taskgraph import Item, Pool, graph_of
from orchestrator.run.twins import Twins
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
    not kept, which checks for itself whether anything is left to do. `find` gives the record of the
    result of a task with this identity, if there is one. `attempt` describes an attempt for an
    executor. `sized` updates a task's memory once the tasks it needs have ended.
    `driver_steps` are the steps that run here, by name. `finish` receives each outcome from an
    executor or the store and may replace it: a validation that ran but did not pass has failed.
    `known` tells how a task failed before with the same inputs, `remember` receives how one with that
    identity's digest ended.
    `listen` is called with every transition, `tick` every second or so while something runs.
    `found` are the records that the plan has just found, by task; the run was alive then (keep/alive.py).
    """

    find: Callable[[Task, Mapping[str, JSON]], Mapping[str, JSON] | None]
    identify: Callable[[Task, Upstream], Mapping[str, JSON] | None]
    attempt: Callable[[Task, Mapping[str, JSON], Upstream, int], Attempt]
    executor: Callable[[], Executor]
    sized: Callable[[Task, Upstream], Task]
    driver_steps: Mapping[str, Callable[[Task, Upstream], Outcome]]
    finish: Callable[[Task, Upstream, Outcome], Outcome]
    known: Callable[[Task, Mapping[str, JSON]], Failed | None] = field(default=lambda _, __: None)
    remember: Callable[[Task, Digest, Failed], None] = field(default=lambda _, __, ___: None)
    listen: Callable[[Transition], None] = field(default=lambda _: None)
    tick: Callable[[], None] = field(default=lambda: None)
    found: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict)


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
        self.twins = Twins()
        self.hosts: dict[str, str] = {}
        self.absent: dict[str | None, str] = {}
        self.keys: dict[str, Digest] = {}
        self.reported: set[str | None] = set()
        self.dependents: dict[str, list[Task]] = {}
        for task in tasks:
            for need in task.needs:
                self.dependents.setdefault(need, []).append(task)

    def resume(self) -> None:
        """Settle the tasks whose results the store already holds, starting from the roots.

        What the plan found stands; what `finish` reads, such as evidence, may be other by now.
        """
        wave = [task for task in self.tasks.values() if not task.needs]
        with ThreadPoolExecutor(_LOOKUPS) as threads:
            while wave:
                found = [self.farm.found.get(task.id) for task in wave]
                outcomes = list(threads.map(self._look, wave, found))
                hits = []
                for task, outcome in zip(wave, outcomes, strict=True):
                    # Anything else is looked up afresh when the task is due, maybe hours later.
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

    def _resized(self, events: Iterable[Event]) -> list[Event]:
        """Put before each success the memory that its dependents are now known to need."""
        result: list[Event] = []
        for event in events:
            if isinstance(event, Ended) and isinstance(event.outcome, Built | Cached):
                known = {event.id: event.outcome.output}
                for task in self.dependents.get(event.id, ()):
                    better = self.farm.sized(task, known).resources.memory
                    if better != task.resources.memory:
                        result.append(Resized(task.id, better))
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
        self.reported = {label for label, pool in pools.items() if pool.ahead}
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
            task.resources.guess,
            task.blockable,
        )

    def _obey(self, commands: Iterable[Command]) -> list[Event]:
        """Carry out commands; returns what happened at once."""
        events: list[Event] = []
        for command in commands:
            match command:
                case Settle(name, outcome):
                    self._settle(name, outcome)
                case Submit(name, attempt, memory):
                    ended = self._submit(self.tasks[name], attempt, int(memory))
                    if ended is not None:
                        events.append(Ended(name, attempt, ended))
                    elif not self.twins.works(name):
                        events.append(Started(name, attempt))  # another task does its work
        return events

    def _submit(self, task: Task, attempt: int, memory: int) -> Outcome | None:
        self.running[task.id] = attempt
        if (found := self._look(task)) is not None:
            return found
        upstream = self._upstream(task)
        if task.step in self.farm.driver_steps:
            return self.farm.driver_steps[task.step](task, upstream)
        if why := self.absent.get(task.resources.label):
            # Without any machine the whole farm is at fault; without one GPU, only its targets wait.
            return Failed("no-machine", why) if task.resources.label is None else Blocked(why)
        identity = self.farm.identify(task, upstream)
        if self.executor is None or identity is None:
            raise RuntimeError(f"task {task.id} has no executor or no key")
        key = self.keys[task.id] = digest_json(identity)
        if self.twins.waits(key, task.id, attempt):
            return None
        if task.resources.label not in self.reported:
            self._started(Started(task.id, attempt))
        task = replace(task, resources=replace(task.resources, memory=memory))
        self.executor.submit(self.farm.attempt(task, identity, upstream, attempt))
        return None

    def _look(self, task: Task, record: Mapping[str, JSON] | None = None) -> Outcome | None:
        """The outcome of the result that the store holds, after `finish`, or of a known failure; else None."""
        upstream = self._upstream(task)
        if record is None:
            identity = self.farm.identify(task, upstream)
            if identity is None:
                return None
            try:
                record = self.farm.find(task, identity)
            except StoreError as error:
                return Failed("infra", f"StoreError: {error}")
            if record is None:
                return self.farm.known(self.farm.sized(task, upstream), identity)
        return self.farm.finish(task, upstream, from_record(record))

    def _started(self, event: Started) -> None:
        state = "started" if event.attempt == 1 else "retry"
        self.farm.listen(Transition(event.id, state, event.attempt, host=event.host))

    def _await(self) -> list[Event]:
        if self.executor is None:
            raise RuntimeError("nothing is running and nothing is ready: the schedule is stuck")
        ended = self.executor.wait(_TICK)
        self.farm.tick()
        found: list[Event] = []
        for event in ended:
            if not self._current(event):
                continue
            if isinstance(event, Started):
                self._started(event)
                found.append(event)
            else:
                found.append(self._finished(event))
                found += map(self._finished, self.twins.after(event))
        return found

    def _current(self, event: Ended | Started) -> bool:
        """Whether this is the attempt that we are waiting for."""
        return self.running.get(event.id) == event.attempt

    def _finished(self, event: Ended) -> Ended:
        task = self.tasks[event.id]
        self.hosts[event.id] = event.host
        return replace(event, outcome=self.farm.finish(task, self._upstream(task), event.outcome))

    def _upstream(self, task: Task) -> Upstream:
        """Outputs of the tasks that this one needs, as far as they exist."""
        found = {need: self.outcomes.get(need) for need in task.needs}
        return {n: o.output for n, o in found.items() if isinstance(o, Built | Cached)}

    def _settle(self, name: str, outcome: Outcome) -> None:
        attempt = self.running.pop(name, 0)
        if isinstance(outcome, Failed) and name in self.keys:
            task = self.farm.sized(self.tasks[name], self._upstream(self.tasks[name]))
            self.farm.remember(task, self.keys[name], outcome)
        self.outcomes[name] = outcome
        host = self.hosts.get(name, "")
        self.farm.listen(Transition(name, kind(outcome), attempt, outcome, host))
