"""Attempts as Ray tasks. The only file that imports ray.

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
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TextIO

from enginebundle.serve.machine import gpu_count
from orchestrator.run.executor import UnreachableError, absent_here, machine_memory, serves
from orchestrator.run.schedule import Ended
from orchestrator.run.taskgraph import Pool
from orchestrator.worker.attempt import Attempt, perform
from orchestrator.worker.outcome import Failed, Outcome, from_json, to_json

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# By default a node that freezes keeps its task for 440 s; with these settings for about 40 s.
os.environ.setdefault("RAY_grpc_client_keepalive_time_ms", "5000")
os.environ.setdefault("RAY_grpc_client_keepalive_timeout_ms", "5000")

import ray  # After the lines above, because it reads the environment when imported.
from ray.exceptions import RayError
from ray.job_submission import JobSubmissionClient

LABEL = "farm/sm"
"""The label that gives a node's GPU architecture, such as `sm_90`."""
_OBJECT_STORE = 100 << 20
"""Bytes; only small JSON passes through it."""
_ELASTIC = 64
"""How many tasks to offer at once to a pool that may grow."""
_MESSAGE = 300
_PATIENCE = 60.0
_POLL = 1.0


def _perform(attempt: str) -> str:
    """JSON in, JSON out: none of our types, nor of any library, has to exist on the other side."""
    outcome, host = perform(Attempt.from_json(json.loads(attempt)))
    return json.dumps({"outcome": to_json(outcome), "host": host})


_remote = ray.remote(max_retries=0)(_perform)


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
        self._running: dict[ray.ObjectRef, tuple[str, int]] = {}
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
            options["address"] = address
        main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**options)
        except ConnectionError as error:
            text = " ".join(str(error).split())[:_MESSAGE]
            raise UnreachableError(f"no Ray cluster at {address}: {text}") from error
        if main:  # Ray installs its own handler, which would end this process silently.
            signal.signal(signal.SIGTERM, handler)
        self._nodes = [_Node(node) for node in ray.nodes() if node["Alive"]]

    def archs(self) -> tuple[str, ...]:
        """The architectures of the GPUs that the nodes that are there now offer."""
        return tuple(sorted({node.arch for node in self._nodes if node.arch and node.gpus > 0}))

    def pools(self, labels: Collection[str | None]) -> Mapping[str | None, Pool]:
        return {label: self._pool(label) for label in labels}

    def _pool(self, label: str | None) -> Pool:
        """Offers twice as many tasks as fit, so that one is waiting when another ends. Ray admits them."""
        nodes = [node for node in self._nodes if node.serves(label)]
        slots = sum(node.slots(label) for node in nodes)
        name = label or "any"
        if self._elastic:
            return Pool(name, max(_ELASTIC, 2 * int(slots)))
        if slots:
            return Pool(name, 2 * max(1, int(slots)))
        return Pool(name, 0, absent=self._absent(label))

    def _absent(self, label: str | None) -> str:
        """Why no task with this label can run here: Ray itself would wait for ever without a word."""
        if label is None:
            return (
                "no node of this cluster offers a CPU; add a worker node, or pass --elastic if the "
                "autoscaler will"
            )
        if self._embedded:
            return absent_here(label, self.archs())
        have = ", ".join(self.archs()) or "none"
        return (
            f"no node of the pool {LABEL}={label} with a GPU in this cluster (pools with GPUs: {have}); "
            f"start one (`ray start --num-gpus 1 --labels {LABEL}={label}`), or pass --elastic if the "
            "autoscaler will"
        )

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
        ref = _remote.options(**options).remote(json.dumps(attempt.to_json()))
        self._running[ref] = (attempt.id, attempt.number)

    def wait(self, timeout: float) -> list[Ended]:
        if not self._running:
            return []
        waiting = list(self._running)
        ready, _ = ray.wait(waiting, num_returns=1, timeout=timeout)
        if ready:
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return [self._end(ref) for ref in ready]

    def _end(self, ref: ray.ObjectRef) -> Ended:
        name, attempt = self._running.pop(ref)
        outcome: Outcome
        try:
            reply = json.loads(ray.get(ref))
        except RayError as error:
            text = " ".join(str(error).split())[:_MESSAGE]
            outcome, host = Failed("infra", f"Ray: {type(error).__name__}: {text}"), ""
        else:
            outcome, host = from_json(reply["outcome"]), reply["host"]
        return Ended(name, attempt, outcome, host)

    def close(self) -> None:
        for ref in self._running:
            ray.cancel(ref, force=True)
        self._running.clear()
        ray.shutdown()


class _Node:
    """What Ray reports about a node."""

    def __init__(self, node: Mapping[str, Any]) -> None:
        resources = node["Resources"]
        self.arch: str | None = node.get("Labels", {}).get(LABEL)
        self.cpus = float(resources.get("CPU", 0.0))
        self.gpus = float(resources.get("GPU", 0.0))
        self.memory = int(resources.get("memory", 0))

    def serves(self, label: str | None) -> bool:
        if label is None:
            return self.cpus > 0
        return self.arch is not None and serves(label, (self.arch,)) and self.gpus > 0

    def slots(self, label: str | None) -> float:
        return self.cpus if label is None else self.gpus


class RayJob:
    """A job on a cluster."""

    def __init__(self, client: JobSubmissionClient, name: str) -> None:
        self._client = client
        self._name = name

    @classmethod
    def submit(cls, address: str, name: str, command: str, folder: Path, store: Path) -> RayJob:
        """Start `command` in a copy of `folder`, without the store if that is inside.

        UnreachableError if no dashboard answers at `address`.
        """
        left_out = [".git/", ".venv/", "__pycache__/"]
        if store.is_relative_to(folder) and store != folder:
            left_out.append(f"{store.relative_to(folder)}/")
        environment = {"working_dir": str(folder), "excludes": left_out}
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                client = JobSubmissionClient(address)
                client.submit_job(
                    entrypoint=command,
                    submission_id=name,
                    runtime_env=environment,
                    entrypoint_num_cpus=0,
                )
            except (ConnectionError, RuntimeError) as error:
                text = " ".join(str(error).split())[:_MESSAGE]
                # A head node that has just started answers before it can accept jobs.
                if "No available agent" not in text or time.monotonic() > end:
                    message = f"no job could be started at {address}: {text}"
                    raise UnreachableError(message) from error
                time.sleep(_POLL)
            else:
                break
        return cls(client, name)

    def follow(self, stream: TextIO) -> None:
        """Copy the job's log to `stream` as it grows, until the job has ended."""
        shown = 0
        while True:
            ended = self._client.get_job_status(self._name).is_terminal()
            log = self._client.get_job_logs(self._name)
            stream.write(log[shown:])
            stream.flush()
            shown = len(log)
            if ended:
                return
            time.sleep(_POLL)

    def message(self) -> str:
        """What Ray reports about the end of the job."""
        return str(self._client.get_job_info(self._name).message)
