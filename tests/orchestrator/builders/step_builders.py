"""Steps for the executors' tests: called with (step, spec, upstream, store uri)."""

from __future__ import annotations

import os
import time
from typing import Any

import bad_builders
import psutil

from enginebundle.format.digest import digest_json
from enginebundle.storage.store import Store


def bookkeeping(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    return {"step": step, "spec": spec, "upstream": sorted(upstream)}


def segfault(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    return bad_builders.segfault()


def refuse(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    return bad_builders.refuse()


def race(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    """A twin of this attempt records its result before this one ends."""
    identity = {"id": "x"}
    Store.open(store).put_result(
        digest_json(identity),
        {
            "key": digest_json(identity),
            "identity": identity,
            "output": {"made": "by the twin"},
            "provenance": {"seconds": 1.0},
        },
    )
    return {"made": "by this one"}


def slow(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    time.sleep(spec.get("seconds", 0.5))
    return {"pid": os.getpid(), "upstream": sorted(upstream)}


def timed(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    """When it ran, by the machine's clock, and which GPUs it may see."""
    began = time.monotonic()
    time.sleep(spec["seconds"])
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"began": began, "ended": time.monotonic(), "gpus": gpus}


def kill_the_worker(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    """Kill the process that waits for this step: the caller of the guard above."""
    guard = psutil.Process(os.getppid())
    guard.parent().kill()
    time.sleep(600)
    return {}
