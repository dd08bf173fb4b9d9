"""A run's record in the store, under `runs/<id>/`: what was asked for, what happened, how it ended.

    manifest.yaml   a copy of the manifest
    origin.json     where it was
    plan.json       its tasks
    events.jsonl    a line for each transition, rewritten from time to time
    results.json    at the end: outcomes, rows, exit code
    logs/           the end of each attempt's output
    progress/       how far each running task has come; its worker writes it

Resuming a run needs none of this: it uses the results under their keys.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from enginebundle.errors import BundleError, NotFoundError
from enginebundle.storage.store import Store, Version
from orchestrator.plan.task_id import TaskId
from orchestrator.run.drive import Transition
from orchestrator.worker import progress
from orchestrator.worker.outcome import Blocked, Built, Cached, Failed, Skipped

_LOG = logging.getLogger(__name__)
_PATIENCE = 20.0
"""The events are rewritten after this many times the seconds that the last write took."""
_AT_LEAST = 1.0


def new_id(digest: str) -> str:
    """A unique id for a run: it sorts by time and identifies the manifest."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    return f"{now}-{digest.removeprefix('sha256:')[:8]}-{secrets.token_hex(2)}"


class Record:
    """Writes the record of one run. Not thread-safe."""

    def __init__(self, store: Store, run: str) -> None:
        self.run = run
        self._store = store
        self._lines: list[str] = []
        self._written = 0
        self._due = 0.0
        self._said: set[str] = set()

    def start(self, manifest: Path, plan: Mapping[str, Any]) -> None:
        """Write what was asked for. StoreError if the store can't be written."""
        self._put("manifest.yaml", manifest.read_bytes())
        self._put("origin.json", _json({"manifest": str(manifest.absolute())}))
        self._put("plan.json", _json(plan))

    def __call__(self, transition: Transition) -> None:
        """Record a transition."""
        self._lines.append(json.dumps(event(transition)))
        self.tick()

    def tick(self) -> None:
        """Write the events if some are not written yet, unless that was done just now."""
        if len(self._lines) > self._written and time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Write the events so far. They are for people: a store that refuses them doesn't end the run."""
        began = time.monotonic()
        if self._try("events.jsonl", ("\n".join(self._lines) + "\n").encode()):
            self._written = len(self._lines)
        now = time.monotonic()
        self._due = now + max(_AT_LEAST, _PATIENCE * (now - began))

    def finish(self, results: Mapping[str, Any]) -> None:
        """Write the rest of the events and the results; what can't be written is said on stderr."""
        self.flush()
        self._try("results.json", _json(results))

    def _try(self, name: str, data: bytes) -> bool:
        try:
            self._put(name, data)
        except (BundleError, OSError) as error:
            if name not in self._said:
                self._said.add(name)
                _LOG.warning("run %s: %s is not recorded: %s", self.run, name, error)
            return False
        return True

    def _put(self, name: str, data: bytes) -> None:
        self._store.put_file(f"runs/{self.run}/{name}", data)


def event(transition: Transition) -> dict[str, Any]:
    """A transition as JSON, without its output."""
    result: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "task": transition.task,
        "state": transition.state,
        "attempt": transition.attempt,
    }
    if transition.host:
        result["host"] = transition.host
    match transition.outcome:
        case Built(_, seconds, _) | Cached(_, seconds):
            result["seconds"] = seconds
        case Failed(code, message):
            result |= {"code": code, "message": message}
        case Skipped() as skipped:
            result["because"] = skipped.because
        case Blocked(why):
            result["because"] = why
    return result


def ids(store: Store) -> list[str]:
    """The ids of all runs in the store, oldest first."""
    return sorted({p.split("/")[1] for p in store.list_files("runs/") if p.count("/") > 1})


def manifest(store: Store, run: str) -> Path | None:
    """Where the manifest of a run was, on the machine that ran it; None if that is not known."""
    data = store.get_file(f"runs/{run}/origin.json")
    return None if data is None else Path(json.loads(data)["manifest"])


def results(store: Store, run: str) -> dict[str, Any] | None:
    """How a run ended; None if it has not ended or was killed."""
    data = store.get_file(f"runs/{run}/results.json")
    try:
        return None if data is None else dict(json.loads(data))
    except ValueError:
        return None  # damaged


def tasks(store: Store, run: str) -> dict[str, Any]:
    """The outcomes of a run that has ended, by task; else empty."""
    ended = results(store, run)
    return {} if ended is None else dict(ended["tasks"])


def made(store: Store, version: Version) -> str | None:
    """The latest run that published a version; None if none is known to have."""
    publish = str(TaskId(version.name, "publish"))
    for run in reversed(ids(store)):
        output = tasks(store, run).get(publish, {}).get("output") or {}
        if output.get("index") == version.digest:
            return run
    return None


def status(store: Store, run: str) -> dict[str, Any]:
    """What is known about a run: the latest event of each task, the progress of those that are running,
    and its results if it has ended.

    NotFoundError if the store has no such run.
    """
    plan = store.get_file(f"runs/{run}/plan.json")
    if plan is None:
        known = ids(store)[-3:]
        raise NotFoundError(
            f"no run {run!r} in {store.uri}; the latest are {', '.join(known) or 'none'}"
        )
    latest = {task["id"]: {"state": "waiting"} for task in json.loads(plan)["tasks"]}
    lines = (store.get_file(f"runs/{run}/events.jsonl") or b"").decode().splitlines()
    for text in lines:
        with contextlib.suppress(ValueError, KeyError):  # a damaged line: the others still count
            entry = json.loads(text)
            latest[entry.pop("task")] = entry
    for name, entry in latest.items():
        if entry["state"] in ("started", "retry"):
            told = json.loads(store.get_file(progress.path(run, name)) or b"{}")
            if told.get("attempt") == entry["attempt"]:
                entry["progress"] = told
    return {"run": run, "tasks": latest, "results": results(store, run)}


def _json(value: Mapping[str, Any]) -> bytes:
    """An entry of each of its collections a line. (With an indentation json leaves its encoder in C, which
    took a quarter of a run of a thousand models in which nothing changed.)"""
    fields = [f"{json.dumps(name)}: {_lines(value[name])}" for name in sorted(value)]
    return ("{\n" + ",\n".join(fields) + "\n}\n").encode()


def _lines(value: Any) -> str:
    if isinstance(value, Mapping) and value:
        rows = [
            f"{json.dumps(name)}: {json.dumps(value[name], sort_keys=True)}"
            for name in sorted(value)
        ]
        return "{\n " + ",\n ".join(rows) + "\n}"
    if isinstance(value, list) and value:
        return "[\n " + ",\n ".join(json.dumps(row, sort_keys=True) for row in value) + "\n]"
    return json.dumps(value, sort_keys=True)
