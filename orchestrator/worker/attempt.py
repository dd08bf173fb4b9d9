"""One attempt at a task, on whatever machine it is placed: look in the store, else run and record."""

from __future__ import annotations

import logging
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from enginebundle.errors import BundleError
from enginebundle.format.digest import Digest, digest_json
from enginebundle.storage.store import Store
from orchestrator.keep.holder import Holder
from orchestrator.keep.results import Results, blobs
from orchestrator.plan.inputs.lists import Finder, save
from orchestrator.plan.keys import UNKEYED, records
from orchestrator.plan.task_id import TaskId
from orchestrator.worker import isolate
from orchestrator.worker.outcome import APART, BESIDE, JSON, STOPPED, Built, Cached, Failed
from orchestrator.worker.progress import Relay
from orchestrator.worker.reads import Changed, Read, read_by, recording_of

STEP = "orchestrator.worker.steps:run_step"
"""What a child process calls, with (step, spec, upstream, store uri)."""
_LOGGER = logging.getLogger(__name__)
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

    Asks the store again first: another attempt at the same task may have finished meanwhile, and one
    that is under way elsewhere is waited for. The first recorded result wins, and is returned even if
    this attempt made another. The result of a step that runs the user's code is kept with what that read.
    """
    host = socket.gethostname()
    try:
        store = Store.open(attempt.store)
        with Holder(store, attempt.key, attempt.run, attempt.id, attempt.number) as holder:
            return _perform(attempt, store, holder, cancelled, host), host
    except Changed as error:
        message = (
            f"{error} was not the same when the step began to read it and when it had ended: "
            "run it again, once nothing else writes there"
        )
        return Failed("changed", message, reproduce=attempt.reproduce), host
    except (BundleError, OSError) as error:
        message = f"the store failed before or after the step: {type(error).__name__}: {error}"
        return Failed("infra", message, reproduce=attempt.reproduce), host


def _perform(
    attempt: Attempt, store: Store, holder: Holder, cancelled: Callable[[], bool], host: str
) -> Built | Cached | Failed:
    results = Results(store)
    finder = Finder(store, results.result)
    record = holder.wait(lambda: finder.of(attempt.step, attempt.spec, attempt.identity), cancelled)
    if record is not None:
        return from_record(record)
    if cancelled():
        return Failed("cancelled", STOPPED, reproduce=attempt.reproduce)
    told: list[Mapping[str, JSON]] = []
    outcome = _run(attempt, store, cancelled, told.append)
    if isinstance(outcome, Failed):
        return _with_key(attempt, store, outcome, told)
    output = dict(outcome.output)
    beside = output.pop(BESIDE, {})
    outcome = replace(outcome, output=output)
    if output.get("passed") is False:
        return outcome
    sizes = {digest: store.blob_size(digest) for digest, _ in blobs(output)}
    for digest, size in blobs(output):
        if sizes[digest] is None or size not in (None, sizes[digest]):
            message = f"the store lacks {digest}, which the step says it left there"
            return Failed("infra", message, reproduce=attempt.reproduce)
    read = _read(attempt, told)
    record = {
        "key": read.key,
        "identity": dict(read.identity),
        "output": output,
        "blobs": sizes,
        "provenance": {
            "host": host,
            "seconds": outcome.seconds,
            "peak": outcome.peak,
            "date": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "task": attempt.id,
            "run": attempt.run,
            "fence": holder.number,
            **({UNKEYED: list(read.unkeyed)} if read.unkeyed else {}),
            **beside,
        },
    }
    won = store.put_result(read.key, record)
    if won.get("output") != output and results.result(read.key) is None and holder.holds():
        won = store.replace_result(read.key, record)
    if read.inputs is not None:
        save(store, attempt.identity, read.inputs)
    return replace(outcome, output=won["output"], key=read.key)


def _read(attempt: Attempt, told: Sequence[Mapping[str, JSON]]) -> Read:
    """What the step read, of which its watcher told. Raises Changed."""
    if not attempt.records:
        return Read(attempt.key, attempt.identity)
    return read_by(attempt.spec, attempt.identity, told[-1] if told else None)


def _with_key(
    attempt: Attempt, store: Store, failed: Failed, told: Sequence[Mapping[str, JSON]]
) -> Failed:
    """The failure with the key of what could not be made from what was read. It has none where no record shows
    all of that: what is not seen may be other the next time."""
    if not told:
        return failed
    try:
        read = _read(attempt, told)
    except Changed:
        return failed
    if read.unkeyed and failed.code != "unrecorded":
        return failed
    if read.inputs is not None:
        save(store, attempt.identity, read.inputs)
    return replace(failed, key=read.key)


def from_record(record: Mapping[str, Any]) -> Cached:
    """The outcome for a result that the store holds."""
    return Cached(record["output"], float(record["provenance"]["seconds"]), record.get("key"))


def _run(
    attempt: Attempt,
    store: Store,
    cancelled: Callable[[], bool],
    read: Callable[[Mapping[str, JSON]], None],
) -> Built | Failed:
    with tempfile.TemporaryDirectory(prefix="kiln-log-") as folder:
        log = Path(folder) / "log"
        relay = Relay(store, attempt.run, attempt.id, attempt.number)
        limits = isolate.Limits(
            attempt.timeout,
            attempt.memory,
            max(1, int(attempt.cpus)),
            attempt.label is not None,
        )
        recording = recording_of(attempt.step, attempt.spec, store) if attempt.records else None

        def made(spec: Mapping[str, JSON]) -> Built | Failed:
            arguments = (attempt.step, spec, attempt.upstream, attempt.store)
            call = isolate.Call(attempt.function, arguments, attempt.path, attempt.step, recording)
            return isolate.run(call, limits, log, attempt.reproduce, cancelled, relay, store, read)

        outcome = made(attempt.spec)
        if attempt.step == "build" and isinstance(outcome, Failed) and outcome.code == "crashed":
            # TensorRT's builder dies of some networks. Found out which nodes those are, the rest builds.
            outcome = made({**attempt.spec, APART: True})
        relay.close()
        data = log.read_bytes()[-_LOG:]
        if data:
            try:
                store.put_file(log_path(attempt.run, attempt.id, attempt.number), data)
            except (BundleError, OSError) as error:
                # A log is for people: what the step made is kept without it.
                _LOGGER.warning("the log of %s is not kept: %s", attempt.id, error)
    return outcome
