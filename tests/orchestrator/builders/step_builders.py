"""Steps for the executors' tests: called with (step, spec, upstream, store uri)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import bad_builders
import psutil


def bookkeeping(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    return {"step": step, "spec": spec, "upstream": sorted(upstream)}


def answer(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    """What it is told, whatever it would measure."""
    return dict(spec["answer"])


def segfault(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    return bad_builders.segfault()


def refuse(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    return bad_builders.refuse()


def slow(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    time.sleep(spec.get("seconds", 0.5))
    return {"pid": os.getpid(), "upstream": sorted(upstream)}


def timed(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    """When it ran, by the machine's clock, and which GPUs it may see.

    It leaves a file `spec["own"]` in a folder, and ends once there is one whose name begins with `spec["other"]`.
    """
    began = time.monotonic()
    folder = Path(spec["folder"])
    (folder / spec["own"]).touch()
    while not any(folder.glob(f"{spec['other']}*")):
        if time.monotonic() > began + 120:
            raise TimeoutError(f"{spec['own']}: no {spec['other']} ran meanwhile")
        time.sleep(0.05)
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"began": began, "ended": time.monotonic(), "gpus": gpus}


def kill_the_worker(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    """Kill the process that waits for this step: the caller of the two guards above."""
    guard = psutil.Process(os.getppid())
    guard.parent().parent().kill()
    time.sleep(600)
    return {}


def tick(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    """Note that it ran, and take a moment."""
    with open(spec["file"], "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(0.5)
    return {"pid": os.getpid()}


def talk(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    print("something for the log")
    return {"fine": True}


def span(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    """When it ran."""
    began = time.time()
    time.sleep(0.4)
    return {"name": spec["name"], "began": began, "ended": time.time()}
