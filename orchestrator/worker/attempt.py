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
from orchestrator.plan.inputs.lists import Finder, save, with_inputs
from orchestrator.plan.inputs.places import places_of
from orchestrator.plan.keys import UNKEYED, records
from orchestrator.plan.task_id import TaskId
from orchestrator.worker import isolate
from orchestrator.worker.outcome import BESIDE, JSON, RECORDED, Built, Cached, Failed
from orchestrator.worker.progress import Relay
from orchestrator.worker.reads import Changed, inputs_of
from orchestrator.worker.recording.observer import Record

STEP = "orchestrator.worker.steps:run_step"
"""What a child process calls, with (step, spec, upstream, store uri)."""
_GIVEN = (("source", "program"), ("goldens", "file"))
"""Files whose digests are in the task: that they are read as well adds nothing."""
_LOG = 1 << 20
"""The store keeps this many bytes of the end of a log."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at the task `id`, as JSON: it may run on another machine. `number` counts from 1.

    The digest of `identity`, with the inputs of a step that `records`, is the task's key. `upstream` are
    the outputs of the tasks it needs, by id. `cpus`, `memory` (bytes), `timeout` (seconds) and `label`
    come from its resources; an attempt with a label gets a GPU. `function` and `path` name the code of
    the step.
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
        """The digest of the identity: where the store keeps the result, unless the step `records`."""
        return digest_json(self.identity)

    @property
    def records(self) -> bool:
        """Whether the step runs the user's code, so that its key depends on what that reads."""
        return records(self.step, self.spec)

    def find(self, store: Store) -> dict[str, Any] | None:
        """The store's record of this task's result; None if there is none."""
        if self.records:
            return Finder(store).recorded(self.identity, places_of(self.spec))
        return store.result(self.key)

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
    first recorded result wins, and is returned even if this attempt made another. The result of a step
    that runs the user's code is kept with what that read.
    """
    host = socket.gethostname()
    try:
        store = Store.open(attempt.store)
        record = attempt.find(store)
        if record is not None:
            return from_record(record), host
        outcome = _run(attempt, store, cancelled)
        if isinstance(outcome, Built):
            outcome = _keep(attempt, store, outcome, host)
    except Changed as error:
        message = (
            f"{error} was not the same when the step began to read it and when it had ended: "
            "run it again, once nothing else writes there"
        )
        return Failed("changed", message, reproduce=attempt.reproduce), host
    except (BundleError, OSError) as error:
        message = f"the store failed before or after the step: {type(error).__name__}: {error}"
        return Failed("infra", message, reproduce=attempt.reproduce), host
    return outcome, host


def _keep(attempt: Attempt, store: Store, outcome: Built, host: str) -> Built:
    """Record what the step made, unless it did not pass. Raises Changed."""
    output = dict(outcome.output)
    beside = output.pop(BESIDE, {})
    told = output.pop(RECORDED, None)
    outcome = replace(outcome, output=output)
    if output.get("passed") is False:
        return outcome
    identity, inputs = dict(attempt.identity), {}
    if attempt.records:
        recorded = Record.from_json(told) if told is not None else Record()
        given = [attempt.spec.get(part, {}).get(name) for part, name in _GIVEN]
        inputs = inputs_of(recorded, places_of(attempt.spec), [path for path in given if path])
        identity = with_inputs(identity, digest_json(inputs))
        if recorded.unrecorded:
            beside = beside | {UNKEYED: recorded.unrecorded}
    key = digest_json(identity)
    record = {
        "key": key,
        "identity": identity,
        "output": output,
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
    kept = store.put_result(key, record)
    if attempt.records:
        save(store, attempt.identity, inputs)
    return replace(outcome, output=kept["output"], key=key)


def from_record(record: Mapping[str, Any]) -> Cached:
    """The outcome for a result that the store holds."""
    return Cached(record["output"], float(record["provenance"]["seconds"]), record.get("key"))


def _recording(attempt: Attempt) -> isolate.Recording:
    """The store is not the model's. What can't be recorded is stopped where a model is made. A later step
    may need it (TensorRT plugins compile kernels, a remote store has its engines): it is named."""
    local = "://" not in attempt.store or attempt.store.startswith("file://")
    refuses = attempt.step == "trace" and attempt.spec.get("unrecorded", "refuse") == "refuse"
    return isolate.Recording((attempt.store.removeprefix("file://"),) if local else (), refuses)


def _run(attempt: Attempt, store: Store, cancelled: Callable[[], bool]) -> Built | Failed:
    with tempfile.TemporaryDirectory(prefix="kiln-log-") as folder:
        log = Path(folder) / "log"
        relay = Relay(store, attempt.run, attempt.id, attempt.number)
        outcome = isolate.run(
            isolate.Call(
                attempt.function,
                (attempt.step, attempt.spec, attempt.upstream, attempt.store),
                attempt.path,
                _recording(attempt) if attempt.records else None,
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
