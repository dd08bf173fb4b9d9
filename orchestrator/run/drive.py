"""The run itself: ask the store, submit what is missing, take in what ends, until all has ended.

Nothing is kept here that a second run needs: results are in the store under their keys, so running
again picks up what is there and repeats at most what was in flight.
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
from orchestrator.worker.outcome import JSON, STOPPED, Built, Cached, Failed, Outcome, Skipped, kind

DRIVER = "driver"
"""The pool of steps that only move documents: they run in this process, which has the keys to
sign with, and alone (so a version and its alias have one writer)."""
COST = {"trace": 20.0, "build": 30.0, "publish": 1.0, "validate": 10.0, "promote": 1.0}
"""Guesses in seconds, for the order only."""
_TICK = 1.0
_LOOKUPS = 16


class Results(Protocol):
    """The part of a Store that a run reads."""

    def result(self, key: Digest) -> dict[str, JSON] | None: ...


@dataclass(frozen=True, slots=True)
class Transition:
    """Something became of a task: `state` is `started`, `retry` or an outcome's kind."""

    task: str
    state: str
    attempt: int = 0
    outcome: Outcome | None = None
    host: str = ""


@dataclass(frozen=True)
class Farm:
    """What a run is made of besides its tasks.

    `identify` gives what a task's key is made of, None for a step whose result is not kept (it
    moves something, and looks for itself whether it must). `attempt` describes an attempt for an executor.
    `sized` gives a task with the memory that shows once what it needs has been made.
    `driver_steps` run here, by step name. `finish` sees each outcome that an executor or the store
    brought and may turn it into another: a validation that ran but did not pass. `listen` is told
    of every transition.
    """

    results: Results
    identify: Callable[[Task, Upstream], Mapping[str, JSON] | None]
    attempt: Callable[[Task, Mapping[str, JSON], Upstream, int], Attempt]
    executor: Callable[[], Executor]
    sized: Callable[[Task, Upstream], Task]
    driver_steps: Mapping[str, Callable[[Task, Upstream], Outcome]]
    finish: Callable[[Task, Upstream, Outcome], Outcome]
    listen: Callable[[Transition], None] = field(default=lambda _: None)


def drive(tasks: Sequence[Task], farm: Farm) -> tuple[dict[str, Outcome], bool]:
    """Bring every task to an end; its outcomes by id, and whether Ctrl-C cut the run short.

    Tasks stand after those they need. The executor is made only if something has to run.
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
        self.dependents: dict[str, list[Task]] = {}
        for task in tasks:
            for need in task.needs:
                self.dependents.setdefault(need, []).append(task)

    def resume(self) -> None:
        """Settle what the store holds already, from the roots up, some at a time."""
        wave = [task for task in self.tasks.values() if not task.needs]
        with ThreadPoolExecutor(_LOOKUPS) as threads:
            while wave:
                outcomes = list(threads.map(self._look, wave))
                hits = []
                for task, outcome in zip(wave, outcomes, strict=True):
                    if isinstance(outcome, Cached):  # Anything else shows again when it is due.
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
        """Before each success, what it says about the memory of the tasks behind it."""
        result: list[schedule.Event] = []
        for event in events:
            if isinstance(event.outcome, Built | Cached):
                known = {event.id: event.outcome.output}
                for task in self.dependents.get(event.id, ()):
                    better = self.farm.sized(task, known).resources.memory
                    if better != task.resources.memory:
                        result.append(schedule.Resize(task.id, better))
            result.append(event)
        return result

    def interrupt(self) -> None:
        """Give every task that has none an end."""
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
        return pools

    def _item(self, task: Task, pools: Mapping[str | None, Pool]) -> Item:
        label = DRIVER if task.step in self.farm.driver_steps else task.resources.label
        task = self.farm.sized(task, self._upstream(task))
        return Item(
            task.id,
            pools.get(label, pools[DRIVER]).name,  # A task that is done needs none of its own.
            task.needs,
            task.optional,
            task.resources.cpus,
            task.resources.memory,
            COST[task.step],
        )

    def _obey(self, commands: Iterable[schedule.Command]) -> list[schedule.Ended]:
        """Carry out commands; what ended in doing so."""
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
        state = "started" if attempt == 1 else "retry"
        self.farm.listen(Transition(task.id, state, attempt))
        identity = self.farm.identify(task, upstream)
        if self.executor is None or identity is None:
            raise RuntimeError(f"task {task.id} has no executor or no key")
        task = self.farm.sized(task, upstream)
        self.executor.submit(self.farm.attempt(task, identity, upstream, attempt))
        return None

    def _look(self, task: Task) -> Outcome | None:
        """What the store holds for the task, seen through `finish`; None if nothing."""
        upstream = self._upstream(task)
        identity = self.farm.identify(task, upstream)
        if identity is None:
            return None
        try:
            record = self.farm.results.result(digest_json(identity))
        except StoreError as error:
            return Failed("infra", f"StoreError: {error}")
        if record is None:
            return None
        return self.farm.finish(task, upstream, from_record(record))

    def _await(self) -> list[schedule.Ended]:
        if self.executor is None:
            raise RuntimeError("nothing runs and nothing is ready: the schedule is stuck")
        return [
            self._finished(event) for event in self.executor.wait(_TICK) if self._current(event)
        ]

    def _current(self, event: schedule.Ended) -> bool:
        """Whether anyone still waits for this attempt."""
        return self.running.get(event.id) == event.attempt

    def _finished(self, event: schedule.Ended) -> schedule.Ended:
        task = self.tasks[event.id]
        self.hosts[event.id] = event.host
        return replace(event, outcome=self.farm.finish(task, self._upstream(task), event.outcome))

    def _upstream(self, task: Task) -> Upstream:
        """Outputs of what the task needs, as far as there are any."""
        found = {need: self.outcomes.get(need) for need in task.needs}
        return {n: o.output for n, o in found.items() if isinstance(o, Built | Cached)}

    def _settle(self, name: str, outcome: Outcome) -> None:
        attempt = self.running.pop(name, 0)
        self.outcomes[name] = outcome
        host = self.hosts.get(name, "")
        self.farm.listen(Transition(name, kind(outcome), attempt, outcome, host))
