"""Traces and builds that will fail again: remembered with their inputs and toolchain, which a task's key stands for.

    failures/<2 hex>/<64 hex>.json    {"code", "message", "log", "date", "run", "request", "task", "timeout",
                                       "memory"}; `request` is the digest of the task's identity without inputs

A crash and a timeout are remembered after their last attempt, a timeout and a lack of memory only up to
the limit that was in force. What the machine or the moment may be to blame for is not remembered: a lack
of memory where the limit was an estimate, which grows with the machine, is such.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from enginebundle.errors import StoreError
from enginebundle.format.digest import Digest, canonical_json, digest_json, hexadecimal
from enginebundle.storage.store import Store
from orchestrator.plan.keys import records
from orchestrator.plan.task import Task
from orchestrator.worker.outcome import Failed

STEPS = frozenset({"trace", "build"})
"""The steps whose failures are kept. Others prove or write down, and ask the machine or the store as it is now."""
_PASSING = frozenset(
    {
        "infra",
        "changed",
        "no-machine",
        "cancelled",
        "no-engine",
        "evidence",
        "not_installed",
        "no_gpu",
    }
)
"""Codes that another machine or moment may not give again, or that cost nothing to find out."""
_MOMENT = re.compile(
    r"\b\w*(OSError|PermissionError|FileNotFoundError|TimeoutError|ConnectionError|URLError|HTTPError)\b"
    r"|SIGKILL|ran out of|\bCUDA\b"
)


@dataclass(frozen=True)
class Failures:
    """Reads and writes them. With `forget`, none is known: everything is tried again. A run forgets what it tries
    for good, or the failure would be told again where what it makes now is lost one day; a plan (no `run`) looks.

    `keys` gives the keys that a task's result may have, by its identity: a step that runs the user's code
    failed with what that read, so its failure counts until one of these files is another (see Finder).
    """

    store: Store
    run: str = ""
    forget: bool = False
    keys: Callable[[Task, Mapping[str, Any]], Iterable[Digest]] = lambda _, identity: [
        digest_json(identity)
    ]

    def known(self, task: Task, identity: Mapping[str, Any]) -> Failed | None:
        """How this task failed before; None if that is not known or may be different now."""
        if task.step not in STEPS:
            return None
        if self.forget:
            for key in self.keys(task, identity) if self.run else ():
                with suppress(StoreError):
                    self.store.storage.remove(_path(key))
            return None
        read = (self._read(key) for key in self.keys(task, identity))
        found = next((one for one in read if one is not None and _same_limits(task, one)), None)
        if found is None:
            return None
        message = (
            f"{found['message']} (so it did on {found['date'][:19]}, with the same inputs and toolchain; "
            "--retry-failed tries again)"
        )
        return Failed(found["code"], message, found["log"])

    def remember(self, task: Task, key: Digest, failed: Failed) -> None:
        """Keep a failure, if it will happen again. A store that fails is no reason to stop the run.

        `key` is the digest of the task's identity. It says nothing of what the user's code read: where that
        counts, a failure whose own key is not known is not kept.
        """
        if task.step not in STEPS or failed.code in _PASSING:
            return
        request = key
        if records(task.step, task.spec):
            if failed.key is None:
                return
            key = failed.key
        if failed.code == "memory" and task.resources.guess:
            return
        if _MOMENT.search(failed.message):
            return
        record = {
            "code": failed.code,
            "message": failed.message,
            "log": failed.log,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "run": self.run,
            "request": request,
            "task": task.id,
            "timeout": task.resources.timeout,
            "memory": task.resources.memory,
        }
        try:
            self.store.put_file(_path(key), canonical_json(record))
        except StoreError:
            return

    def _read(self, key: Digest) -> Mapping[str, Any] | None:
        try:
            data = self.store.get_file(_path(key))
            found = None if data is None else json.loads(data)
            return found if isinstance(found, dict) and found.keys() >= _KEYS else None
        except (StoreError, ValueError):
            return None


_KEYS = frozenset({"code", "message", "log", "date", "timeout", "memory"})


def _same_limits(task: Task, found: Mapping[str, Any]) -> bool:
    if found["code"] == "timeout":
        return bool(task.resources.timeout <= found["timeout"])
    return bool(found["code"] != "memory" or task.resources.memory <= found["memory"])


def _path(key: Digest) -> str:
    text = hexadecimal(key)
    return f"failures/{text[:2]}/{text}.json"
