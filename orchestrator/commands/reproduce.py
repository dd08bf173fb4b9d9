"""`kiln reproduce`: builds a published `trt:` variant again, with the tactics that were proved."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from enginebundle.errors import NotFoundError
from enginebundle.format.spec import Target
from enginebundle.storage.store import Store
from orchestrator.commands.common import UsageError, open_store, print_json, unknown
from orchestrator.plan.task_id import TaskId
from orchestrator.report import record
from orchestrator.report.exit_codes import exit_code
from orchestrator.run.executor import machine_memory
from orchestrator.worker import isolate
from orchestrator.worker.outcome import Failed, Outcome

STEP = "orchestrator.worker.reproduce:reproduce"


def reproduce(args: argparse.Namespace) -> int:
    """Rebuild each engine in a fresh process; fails if TensorRT can't be held to its tactics."""
    target = Target.parse(args.target)
    if target.backend != "trt":
        raise UsageError(
            f"{target}: only TensorRT chooses tactics by timing them; other builds follow from their key, "
            "and there is nothing to replay"
        )
    store = open_store(args.store)
    version = store.resolve(args.bundle)
    run = record.made(store, version)
    if run is None:
        raise NotFoundError(f"no run in {store.uri} tells how {version} was made")
    tasks = record.tasks(store, run)
    builds = _builds(store, run, version.name, tasks)
    if target not in builds:
        raise unknown("variant", args.target, [str(known) for known in builds])
    ended: dict[str, Outcome] = {}
    for name, spec, needs in builds[target]:
        upstream = {need: tasks[need]["output"] for need in needs}
        ended[name] = _run(store, spec, upstream, _engines(store, tasks[name]), args.timeout)
    told = {name: _told(outcome) for name, outcome in ended.items()}
    if args.output == "json":
        print_json({"bundle": str(version), "target": str(target), "builds": told})
    else:
        for name, line in told.items():
            print(f"{name}: {line}", file=sys.stderr if "FAILED" in line else sys.stdout)
    return exit_code(ended.values())


def _builds(
    store: Store, run: str, model: str, tasks: dict[str, Any]
) -> dict[Target | None, list[tuple[str, dict[str, Any], list[str]]]]:
    """The run's builds of the model that have a result, by target: id, spec and what they need."""
    found: dict[Target | None, list[tuple[str, dict[str, Any], list[str]]]] = {}
    plan = json.loads(store.get_file(f"runs/{run}/plan.json") or b'{"tasks": []}')
    for task in plan["tasks"]:
        task_id = TaskId.parse(task["id"])
        made = "key" in tasks.get(task["id"], {})  # one that failed or is blocked has none
        if made and (task_id.model, task_id.step) == (model, "build"):
            entry = (task["id"], task["spec"], task["needs"])
            found.setdefault(task_id.target, []).append(entry)
    return found


def _engines(store: Store, task: dict[str, Any]) -> list[str]:
    """The keys of the engines that a build's result was made of."""
    result = store.result(task["key"]) or {}
    return [one["key"] for one in result.get("provenance", {}).get("engines", ()) if "key" in one]


def _run(
    store: Store, spec: dict[str, Any], upstream: dict[str, Any], keys: list[str], timeout: float
) -> Outcome:
    call = isolate.Call(STEP, (spec, upstream, store.uri, keys))
    limits = isolate.Limits(timeout, machine_memory(), gpu=True)
    with tempfile.TemporaryDirectory(prefix="kiln-log-") as folder:
        return isolate.run(call, limits, Path(folder) / "log")


def _told(outcome: Outcome) -> str:
    if isinstance(outcome, Failed):
        return f"FAILED ({outcome.code}) {outcome.message}"
    return "built again with the same tactics"
