"""Build a target's part again with the tactics that were proved. A step that makes no result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from enginebundle.storage.store import Store
from orchestrator.plan.task import Upstream
from orchestrator.worker.outcome import JSON
from orchestrator.worker.progress import teller
from orchestrator.worker.steps import build_request, plain_program, traced_program


def reproduce(
    spec: Mapping[str, JSON], upstream: Upstream, store: str, keys: Sequence[str]
) -> dict[str, Any]:
    """Build as the step `build` does, each engine held to what the result of its key says of its build.

    `keys` are those of the engines. Returns how many were built; raises ReplayRefused.
    """
    from compiler.build.aids import Aids
    from compiler.build.replay import Proved
    from compiler.pipeline import build_program

    opened = Store.open(store)
    proved = {}
    for key in keys:
        record = opened.result(key) or {}
        proved[key] = Proved.of(record.get("provenance", {}).get("build", {}))
    request = build_request({**spec, "tolerances": {}})  # nothing is compared with goldens here
    aids = Aids(opened, teller(), proved)
    program, plain = traced_program(upstream, opened), plain_program(upstream, opened)
    built = build_program(program, request, aids=aids, plain=plain)
    return {"engines": sum(segment.engine is not None for segment in built.segments)}
