"""Attempts as Ray tasks, and runs as Ray jobs. The only file that imports ray.

Ray places and starts processes, nothing more. A Ray task only waits for the child of `isolate`, so
its worker stays clean and is reused. (A fresh worker for each task, `max_calls=1`, would cost half a
second, and the child is fresh anyway.) The driver and the store take care of retries, order and
results: Ray's own retries are off, and only a little JSON passes through it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from enginebundle.serve.machine import gpu_count
from orchestrator.run.events import Ended, Started
from orchestrator.run.executor import UnreachableError, machine_memory
from orchestrator.run.nodes import LABEL, LOOK, PATIENCE, Handed, Node, absent
from orchestrator.run.reach import answers
from orchestrator.run.taskgraph import Pool
from orchestrator.worker.attempt import Attempt, perform
from orchestrator.worker.outcome import Failed, from_json, to_json

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# How often this process asks whether the other side of a connection lives is for a cluster to say: one that
# is asked more often than it is set up for takes it for an attack, and drops a task after 20 s.

import ray  # After the lines above, because it reads the environment when imported.
from ray.exceptions import RayError
from ray.job_submission import JobSubmissionClient

_OBJECT_STORE = 100 << 20
"""Bytes; only small JSON passes through it."""
_WINDOW = 10_000
_ELASTIC = 64
"""How many tasks to offer at once to a pool that may grow: a cluster grows by what waits."""
_MESSAGE = 300
_POLL = 1.0


def _perform(attempt: str) -> Iterator[str]:
    """JSON in, JSON out: none of our types, nor of any library, has to exist on the other side.

    Tells first that it has started, and where; then how it ended.
    """
    node = ray.get_runtime_context().get_node_id()
    yield json.dumps({"started": node, "host": socket.gethostname()})
    outcome, host = perform(Attempt.from_json(json.loads(attempt)))
    yield json.dumps({"outcome": to_json(outcome), "host": host})


_remote = ray.remote(max_retries=0, num_returns="streaming")(_perform)


class RayExecutor:
    """A Ray of its own (`address` None) or a running cluster (`auto`, `host:port`).

    `jobs` limits how many steps its own Ray runs at once, `archs` are the architectures of this
    machine's GPUs. `elastic`: a pool without nodes may get some, so wait for the autoscaler.
    """

    def __init__(
        self,
        address: str | None = None,
        jobs: int | None = None,
        archs: tuple[str, ...] = (),
        elastic: bool = False,
    ) -> None:
        self._elastic = elastic
        self._embedded = address is None
        self._running: dict[Any, Handed] = {}
        self._due = 0.0
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address is None:
            options |= {
                "address": "local",
                "num_cpus": jobs or len(os.sched_getaffinity(0)),
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE,
                "_memory": machine_memory(),
                "labels": {LABEL: archs[0]} if archs else None,
                # Ray counts GPUs in its own way, and a pool whose node has none serves nobody.
                "num_gpus": max(gpu_count(), len(archs)) if archs else 0,
            }
        else:
            answers(address)
            options["address"] = address
        main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**options)
        except Exception as error:  # a bare Exception where a node starts too slowly, say
            text = " ".join(str(error).split())[:_MESSAGE]
            where = (
                f"no Ray cluster at {address}" if address else "Ray does not start on this machine"
            )
            advice = "" if address else ". Try again, or run with --executor local"
            raise UnreachableError(f"{where}: {text}{advice}") from error
        if main:  # Ray installs its own handler, which would end this process silently.
            signal.signal(signal.SIGTERM, handler)
        self._nodes = [Node.of(node) for node in ray.nodes() if node["Alive"]]

    def archs(self) -> tuple[str, ...]:
        """The architectures of the GPUs that the nodes that are there now offer."""
        return tuple(sorted({node.arch for node in self._nodes if node.arch and node.gpus > 0}))

    def pools(self, labels: Collection[str | None]) -> Mapping[str | None, Pool]:
        return {label: self._pool(label) for label in labels}

    def _pool(self, label: str | None) -> Pool:
        """Ray decides what fits. One task at a time waits for that, so that no later one overtakes it;
        nodes that come or go need no new window."""
        nodes = [node for node in self._nodes if node.serves(label)]
        name = label or "any"
        if self._elastic:
            return Pool(name, _WINDOW, ahead=_ELASTIC)
        if nodes:
            return Pool(name, _WINDOW, ahead=1, most=max(node.memory for node in nodes))
        return Pool(name, 0, absent=self._absent(label))

    def _absent(self, label: str | None) -> str:
        """Why no task with this label can run here: Ray itself would wait for ever without a word."""
        return absent(label, self.archs(), embedded=self._embedded)

    def submit(self, attempt: Attempt) -> None:
        nodes = [node for node in self._nodes if node.serves(attempt.label)]
        # A request for more than any node has would wait for ever, so such a task gets a whole node.
        most_memory = max((node.memory for node in nodes), default=attempt.memory)
        most_cpus = max((node.cpus for node in nodes), default=attempt.cpus)
        options: dict[str, Any] = {
            "num_cpus": min(attempt.cpus, most_cpus),
            "memory": min(attempt.memory, most_memory),
            "name": f"{attempt.step}/{attempt.label or 'any'}",
        }
        if attempt.label is not None:
            options |= {"num_gpus": 1, "label_selector": {LABEL: attempt.label}}
        stream = _remote.options(**options).remote(json.dumps(attempt.to_json()))
        self._running[stream] = Handed(attempt, time.monotonic())

    def wait(self, timeout: float) -> Sequence[Ended | Started]:
        if not self._running:
            return []
        waiting = list(self._running)
        ready, _ = ray.wait(waiting, num_returns=1, timeout=timeout)
        if ready:
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return [*map(self._next, ready), *self._lost()]

    def _next(self, stream: Any) -> Ended | Started:
        """What a task says next."""
        task = self._running[stream]
        name, number = task.attempt.id, task.attempt.number
        try:
            reply = json.loads(ray.get(next(stream)))
        except (RayError, StopIteration) as error:
            text = " ".join(str(error).split())[:_MESSAGE]
            del self._running[stream]
            return Ended(name, number, Failed("infra", f"Ray: {type(error).__name__}: {text}"))
        if "started" in reply:
            task.node = reply["started"]
            return Started(name, number, reply["host"])
        del self._running[stream]
        return Ended(name, number, from_json(reply["outcome"]), reply["host"])

    def _lost(self) -> list[Ended]:
        """Give up tasks that wait for nodes which are gone, and those that ran on a node which died."""
        now = time.monotonic()
        if now < self._due:
            return []
        self._due = now + LOOK
        self._nodes = [Node.of(node) for node in ray.nodes() if node["Alive"]]
        alive = {node.id for node in self._nodes}
        ended = []
        for stream, task in list(self._running.items()):
            label = task.attempt.label
            if task.node in alive or (not task.node and any(n.serves(label) for n in self._nodes)):
                task.since = task.told = now
                continue
            outcome = task.given_up(now, self._absent(label), self._elastic)
            if outcome is not None:
                ray.cancel(stream, force=True)
                del self._running[stream]
                ended.append(Ended(task.attempt.id, task.attempt.number, outcome))
        return ended

    def close(self) -> None:
        for stream in self._running:
            ray.cancel(stream, force=True)
        self._running.clear()
        ray.shutdown()


class RayJob:
    """A job on a cluster."""

    def __init__(self, client: JobSubmissionClient, name: str, run: str) -> None:
        self._client = client
        self._name = name
        self.run = run

    @classmethod
    def submit(
        cls, address: str, run: str, request: str, command: str, folder: Path, store: Path
    ) -> RayJob:
        """Start `command` in a copy of `folder`, without the store if that is inside; its run is `run`.

        `request` names what is asked for: if a job for it has not ended, that one is returned, with its
        own run. UnreachableError if no dashboard answers at `address`.
        """
        left_out = [".git/", ".venv/", "__pycache__/"]
        if store.is_relative_to(folder) and store != folder:
            left_out.append(f"{store.relative_to(folder)}/")
        environment = {"working_dir": str(folder), "excludes": left_out}
        end = time.monotonic() + PATIENCE
        while True:
            try:
                client = JobSubmissionClient(address)
                name, known = _next_job(client, request)
                if known:
                    return cls(client, name, known)
                client.submit_job(
                    entrypoint=command,
                    submission_id=name,
                    runtime_env=environment,
                    metadata={"run": run},
                    entrypoint_num_cpus=0,
                )
            except (OSError, RuntimeError, ValueError) as error:
                text = " ".join(str(error).split())
                # A head node that has just started answers before it can accept jobs; and somebody else
                # may have submitted the same at the same time. Ray answers with a traceback, which says
                # so at its end.
                again = "No available agent" in text or "already exists" in text
                if not again or time.monotonic() > end:
                    message = f"no job could be started at {address}: {text[-_MESSAGE:]}"
                    raise UnreachableError(message) from error
                time.sleep(_POLL)
            else:
                return cls(client, name, run)

    def follow(self, stream: TextIO) -> None:
        """Copy the job's log to `stream` as it grows, until the job has ended.

        UnreachableError if the dashboard does not answer for a minute; the job itself may go on.
        """
        shown, heard = 0, time.monotonic()
        while True:
            try:
                ended = self._client.get_job_status(self._name).is_terminal()
                log = self._client.get_job_logs(self._name)
            except (OSError, RuntimeError) as error:
                if time.monotonic() - heard > PATIENCE:
                    text = " ".join(str(error).split())[:_MESSAGE]
                    raise UnreachableError(
                        f"the dashboard has not answered for {PATIENCE:g} s: {text}. Job {self._name} may "
                        f"go on: see `kiln status {self.run}`"
                    ) from error
                time.sleep(_POLL)
                continue
            heard = time.monotonic()
            stream.write(log[shown:])
            stream.flush()
            shown = len(log)
            if ended:
                return
            time.sleep(_POLL)

    def message(self) -> str:
        """What Ray reports about the end of the job."""
        return str(self._client.get_job_info(self._name).message)


def _next_job(client: JobSubmissionClient, request: str) -> tuple[str, str]:
    """The name for the next job with that request, or of the one that has not ended, and its run."""
    jobs = {job.submission_id: job for job in client.list_jobs()}
    number = 1
    while (name := f"kiln-{request}-{number}") in jobs:
        if not jobs[name].status.is_terminal():
            return name, str((jobs[name].metadata or {}).get("run", ""))
        number += 1
    return name, ""
