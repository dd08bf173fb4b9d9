"""`kiln report`: what each build of a run put into engines, what it left in torch, and why."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from enginebundle.errors import BundleError, NotFoundError
from enginebundle.format.digest import parse_json
from enginebundle.storage.store import Store
from orchestrator.commands.common import UsageError, columns, open_store, print_json
from orchestrator.plan.task_id import TaskId
from orchestrator.report import record


def report(args: argparse.Namespace) -> int:
    """Print a row for each build, then the nodes in torch, by reason, with their places in the source."""
    store = open_store(args.store)
    run, model = _run(store, args.what)
    ended = record.results(store, run)
    if ended is None:
        raise UsageError(
            f"run {run} has not ended (or was killed): `kiln status` shows how far it is"
        )
    entries = {
        name: _entry(store, entry) for name, entry in ended["tasks"].items()
        if TaskId.parse(name).step == "build" and model in (None, TaskId.parse(name).model)
    }  # fmt: skip
    if args.output == "json":
        print_json({"run": run, "builds": entries})
        return 0
    print(f"run {run}")
    rows = [("BUILD", "ENGINE", "TORCH", "ENGINES")]
    for name, entry in entries.items():
        found = entry["report"]
        if found is None:
            rows.append((name.replace("/build/", " "), "-", "-", entry["state"]))
            continue
        engines = sum(segment["kind"] == "engine" for segment in found["segments"])
        counts = str(found["engine_nodes"]), str(found["torch_nodes"]), str(engines)
        rows.append((name.replace("/build/", " "), *counts))
    print(columns(rows))
    for name, entry in entries.items():
        if entry["report"] is not None and not name.partition("/build/")[2].startswith("torch:"):
            _print_reasons(name.replace("/build/", " "), entry["report"])
    return 0


def _run(store: Store, what: str | None) -> tuple[str, str | None]:
    """The run to report on, and the model, if not all."""
    known = record.ids(store)
    if not known:
        raise UsageError(f"store {store.uri} has no runs yet")
    if what is None or what in known:
        return what or known[-1], None
    version = store.resolve(what)
    run = record.made(store, version)
    if run is None:
        raise NotFoundError(f"no run in {store.uri} is known to have published {version}")
    return run, version.name


def _entry(store: Store, entry: Mapping[str, Any]) -> dict[str, Any]:
    """A build's state and its partition's report: None if it made none, or if that is gone."""
    output = entry.get("output")
    try:
        if output is None and "key" in entry:  # built, but not taken: it ended without engines
            output = (store.result(entry["key"]) or {}).get("output")
        blob = None if output is None else parse_json(store.read_blob(output["report"]))
    except BundleError:
        blob = None
    return {"state": entry["kind"], "message": entry.get("message", ""), "report": blob}


def _print_reasons(name: str, found: Mapping[str, Any]) -> None:
    for reason in found["reasons"]:
        print(f"\n{name}: {reason['count']} x {reason['op']}: {reason['code']}: {reason['detail']}")
        same = [
            node for node in found["kept"]
            if (node["op"], node["code"]) == (reason["op"], reason["code"])
        ]  # fmt: skip
        for node in same[:3]:
            place = f"{node['file']}:{node['line']}" if node["file"] else "unknown source"
            print(f"  at {node['node']}: {place}: {node['source'].strip()}")
        if len(same) > 3:
            print(f"  and {len(same) - 3} more")
        if reason["remedy"]:
            print(f"  remedy: {reason['remedy']}")
    for op, told in found.get("plugins_missing", {}).items():
        print(f"\n{name}: {op}: {told}")
