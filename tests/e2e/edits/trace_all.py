"""In a process of its own: plan a workspace, run the traces that the plan asks for, and tell what they are.

python -m tests.e2e.edits.trace_all MANIFEST STORE FUNCTION -> {"built": [...], "results": {...}}
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from enginebundle.storage.store import Store
from orchestrator.commands.manifests import make_plan
from orchestrator.commands.run import _attempt
from orchestrator.manifest.load import load
from orchestrator.plan import keys
from orchestrator.plan.content import contents
from orchestrator.plan.decide import Plan
from orchestrator.plan.task import Task
from orchestrator.worker.attempt import perform
from orchestrator.worker.outcome import Built
from orchestrator.worker.recording.window import window


def light(step: str, spec: Mapping[str, Any], upstream: Any, store: str) -> dict[str, Any]:
    """In place of a trace: only what the model's `read` returns."""
    with window():
        sys.path[:0] = spec["source"]["search_path"]
        module = importlib.import_module(spec["source"]["entrypoint"].partition(":")[0])
        return {"text": module.read()}


def main(manifest: Path, store: Store, function: str) -> dict[str, Any]:
    made = plan(manifest, store)
    traces = [
        (task, decision)
        for task, decision in zip(made.tasks, made.decisions, strict=True)
        if task.step == "trace"
    ]
    todo = [task for task, decision in traces if decision.status == "build"]
    with ThreadPoolExecutor(2) as threads:
        ended = list(threads.map(lambda task: run(task, store, function), todo))
    results = {}
    for task, decision in zip(*(iter(column) for column in zip(*traces, strict=True)), strict=True):
        if decision.key is not None and decision.status == "cached":
            record = store.result(decision.key)
            assert record is not None
            results[task.model] = record["output"]
    for task, output in zip(todo, ended, strict=True):
        results[task.model] = output
    return {
        "built": sorted(task.model for task in todo),
        "why": {task.model: made.decision(task.id).why for task in todo},
        "results": results,
    }


def plan(manifest: Path, store: Store) -> Plan:
    found = load(manifest)
    return make_plan(found, contents(found), store, ())


def run(task: Task, store: Store, function: str) -> dict[str, Any]:
    from dataclasses import replace

    attempt = _attempt("r", store, [], [], task, keys.identity(task, {}), {}, 1)
    if function:
        attempt = replace(attempt, function=function)
    outcome, _ = perform(attempt)
    assert isinstance(outcome, Built), outcome
    return dict(outcome.output)


if __name__ == "__main__":
    opened = Store.open(sys.argv[2], create=True)
    print(json.dumps(main(Path(sys.argv[1]), opened, sys.argv[3])))
