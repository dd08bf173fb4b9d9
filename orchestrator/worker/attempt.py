"""One attempt of a task, on whatever machine it landed: look in the store, else run and record."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from enginebundle.errors import BundleError
from enginebundle.format.digest import Digest, digest_json
from enginebundle.storage.store import Store
from orchestrator.plan.task_id import TaskId
from orchestrator.worker import isolate
from orchestrator.worker.outcome import JSON, Built, Cached, Failed

STEP = "orchestrator.worker.steps:run_step"
"""What a child process calls, with (step, spec, upstream, store uri)."""
_LOG = 1 << 20
"""Bytes of a log's end that the store keeps."""


@dataclass(frozen=True, slots=True)
class Job:
    """All that an attempt needs, as JSON: it may run on another machine.

    `identity` is what the task's key is made of, `upstream` the outputs of what it needs by task id.
    `cpus`, `memory` (bytes), `timeout` (seconds) and `label` come from its resources; a job with a
    label gets a GPU. `function` and `path` name the code of the step.
    """

    id: str
    attempt: int
    run: str
    step: str
    spec: Mapping[str, JSON]
    upstream: Mapping[str, JSON]
    identity: Mapping[str, JSON]
    store: str
    cpus: float
    memory: int
    timeout: float
    label: str | None = None
    reproduce: str = ""
    function: str = STEP
    path: tuple[str, ...] = ()

    @property
    def key(self) -> Digest:
        """Where the store keeps this task's result."""
        return digest_json(self.identity)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Job:
        return cls(**{**value, "path": tuple(value["path"])})


def log_path(run: str, task: str, attempt: int) -> str:
    """Where the store keeps the log of an attempt."""
    return f"runs/{run}/logs/{TaskId.parse(task).file_name}.{attempt}.log"


def perform(
    job: Job, cancelled: Callable[[], bool] = isolate.never
) -> tuple[Built | Cached | Failed, str]:
    """Do the job; how it ended, and the host it ran on. What the task does never raises here.

    The store is asked again at the start: a twin of this attempt may have finished meanwhile. The
    first recorded result wins, and that one is returned even where this attempt made another.
    """
    host = socket.gethostname()
    try:
        store = Store.open(job.store)
        record = store.result(job.key)
        if record is not None:
            return from_record(record), host
        outcome = _run(job, store, cancelled)
        if isinstance(outcome, Built) and outcome.output.get("passed") is not False:
            record = {
                "key": job.key,
                "identity": dict(job.identity),
                "output": dict(outcome.output),
                "provenance": {
                    "host": host,
                    "seconds": outcome.seconds,
                    "peak": outcome.peak,
                    "date": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "task": job.id,
                    "run": job.run,
                },
            }
            outcome = replace(outcome, output=store.put_result(job.key, record)["output"])
    except (BundleError, OSError) as error:
        message = f"the store failed around the step: {type(error).__name__}: {error}"
        return Failed("infra", message, reproduce=job.reproduce), host
    return outcome, host


def from_record(record: Mapping[str, Any]) -> Cached:
    """The outcome that a stored result stands for."""
    return Cached(record["output"], float(record["provenance"]["seconds"]))


def _run(job: Job, store: Store, cancelled: Callable[[], bool]) -> Built | Failed:
    with tempfile.TemporaryDirectory(prefix="kiln-log-") as folder:
        log = Path(folder) / "log"
        outcome = isolate.run(
            isolate.Call(job.function, (job.step, job.spec, job.upstream, job.store), job.path),
            isolate.Limits(job.timeout, job.memory, max(1, int(job.cpus)), job.label is not None),
            log,
            job.reproduce,
            cancelled,
        )
        data = log.read_bytes()[-_LOG:]
        if data:
            store.put_file(log_path(job.run, job.id, job.attempt), data)
    return outcome
