"""One attempt at a task, on whatever machine it is placed: look in the store, else run and record."""

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
from orchestrator.worker.outcome import BESIDE, JSON, Built, Cached, Failed
from orchestrator.worker.progress import Relay

STEP = "orchestrator.worker.steps:run_step"
"""What a child process calls, with (step, spec, upstream, store uri)."""
_LOG = 1 << 20
"""The store keeps this many bytes of the end of a log."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at the task `id`, as JSON: it may run on another machine. `number` counts from 1.

    The digest of `identity` is the task's key; `upstream` are the outputs of the tasks it needs, by
    id. `cpus`, `memory` (bytes), `timeout` (seconds) and `label` come from its resources; an attempt
    with a label gets a GPU. `function` and `path` name the code of the step.
    """

    id: str
    number: int
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
    def from_json(cls, value: Mapping[str, Any]) -> Attempt:
        return cls(**{**value, "path": tuple(value["path"])})


def log_path(run: str, task: str, attempt: int) -> str:
    """Where the store keeps the log of an attempt."""
    return f"runs/{run}/logs/{TaskId.parse(task).file_name}.{attempt}.log"


def perform(
    attempt: Attempt, cancelled: Callable[[], bool] = isolate.never
) -> tuple[Built | Cached | Failed, str]:
    """Make the attempt; returns how it ended and on which host. No failure of the task raises here.

    Asks the store again first: another attempt at the same task may have finished meanwhile. The
    first recorded result wins, and is returned even if this attempt made another.
    """
    host = socket.gethostname()
    try:
        store = Store.open(attempt.store)
        record = store.result(attempt.key)
        if record is not None:
            return from_record(record), host
        outcome = _run(attempt, store, cancelled)
        if isinstance(outcome, Built):
            output = dict(outcome.output)
            beside = output.pop(BESIDE, {})
            outcome = replace(outcome, output=output)
        if isinstance(outcome, Built) and outcome.output.get("passed") is not False:
            record = {
                "key": attempt.key,
                "identity": dict(attempt.identity),
                "output": dict(outcome.output),
                "provenance": {
                    "host": host,
                    "seconds": outcome.seconds,
                    "peak": outcome.peak,
                    "date": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "task": attempt.id,
                    "run": attempt.run,
                    **beside,
                },
            }
            outcome = replace(outcome, output=store.put_result(attempt.key, record)["output"])
    except (BundleError, OSError) as error:
        message = f"the store failed before or after the step: {type(error).__name__}: {error}"
        return Failed("infra", message, reproduce=attempt.reproduce), host
    return outcome, host


def from_record(record: Mapping[str, Any]) -> Cached:
    """The outcome for a result that the store holds."""
    return Cached(record["output"], float(record["provenance"]["seconds"]))


def _run(attempt: Attempt, store: Store, cancelled: Callable[[], bool]) -> Built | Failed:
    with tempfile.TemporaryDirectory(prefix="kiln-log-") as folder:
        log = Path(folder) / "log"
        relay = Relay(store, attempt.run, attempt.id, attempt.number)
        outcome = isolate.run(
            isolate.Call(
                attempt.function,
                (attempt.step, attempt.spec, attempt.upstream, attempt.store),
                attempt.path,
            ),
            isolate.Limits(
                attempt.timeout,
                attempt.memory,
                max(1, int(attempt.cpus)),
                attempt.label is not None,
            ),
            log,
            attempt.reproduce,
            cancelled,
            relay,
        )
        relay.close()
        data = log.read_bytes()[-_LOG:]
        if data:
            store.put_file(log_path(attempt.run, attempt.id, attempt.number), data)
    return outcome
