"""One trace for closed.py, in a process of its own: prints its output and what it read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from enginebundle.storage.store import Store
from orchestrator.plan.inputs.places import places_of
from orchestrator.worker import isolate
from orchestrator.worker.outcome import Built
from orchestrator.worker.reads import inputs_of
from orchestrator.worker.recording.observer import Record
from orchestrator.worker.recording.request import Recording

STEP = "orchestrator.worker.steps:run_step"


def trace(spec: dict[str, Any], store: str, log: str) -> dict[str, Any]:
    """The step's output, and what it read."""
    lent, told = Store.open(store, create=True), list[dict[str, Any]]()
    call = isolate.Call(STEP, ("trace", spec, {}, store), (), "trace", Recording((store,)))
    limits = isolate.Limits(timeout=1200.0)
    ended = isolate.run(call, limits, Path(log), store=lent, read=told.append)
    if not isinstance(ended, Built):
        raise SystemExit(f"{ended.code}: {ended.message}\n{ended.log[-3000:]}")
    return {
        "output": dict(ended.output),
        "inputs": inputs_of(Record.from_json(told[-1]), places_of(spec)),
        "seconds": ended.seconds,
    }


if __name__ == "__main__":
    print(json.dumps(trace(*json.loads(Path(sys.argv[1]).read_bytes()))))
