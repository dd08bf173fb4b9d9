"""`kiln list`, `kiln inspect`, `kiln validate`: what is published, and validating it later."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from enginebundle.format.spec import Target
from enginebundle.serve.bundle import Bundle
from enginebundle.storage.store import Store, Version
from enginebundle.storage.trust import default_signer
from orchestrator.commands.common import (
    columns,
    open_store,
    print_json,
    unknown,
)
from orchestrator.plan.task import Resources, Task, Upstream
from orchestrator.plan.task_id import TaskId
from orchestrator.report.exit_codes import exit_code
from orchestrator.run.executor import machine_memory
from orchestrator.run.publish import Publisher
from orchestrator.worker import isolate
from orchestrator.worker.attempt import STEP
from orchestrator.worker.outcome import Built, Failed, Outcome


def list_bundles(args: argparse.Namespace) -> int:
    """Print every version, with its aliases and the states of its variants."""
    store = open_store(args.store)
    entries = [_entry(store, v) for name in store.names() for v in store.versions(name)]
    if args.output == "json":
        print_json(entries)
        return 0
    rows = [("BUNDLE", "ALIASES", "VARIANTS")]
    for entry in entries:
        variants = ", ".join(f"{t} {s}" for t, s in entry["variants"].items())
        rows.append((f"{entry['name']}@{entry['version']}", ", ".join(entry["aliases"]), variants))
    print(columns(rows))
    return 0


def inspect(args: argparse.Namespace) -> int:
    """Print the index with its version, its aliases and its evidence, as JSON."""
    store = open_store(args.store)
    version = store.resolve(args.bundle)
    bundle = Bundle.open(store, version)
    print_json(
        _entry(store, version)
        | {
            "signer": bundle.signer,
            "evidence": [json.loads(signed.document) for signed in bundle.evidence],
            "index": json.loads(bundle.index.to_bytes()),
        }
    )
    return 0


def validate(args: argparse.Namespace) -> int:
    """Run the variant's goldens through the loader in a fresh process; sign and store the evidence."""
    store = open_store(args.store)
    version = store.resolve(args.bundle)
    target = Target.parse(args.target)
    index = Bundle.open(store, version).index
    if index.variant(target) is None:
        known = [str(variant.target) for variant in index.variants]
        raise unknown("variant", args.target, known)
    publisher = Publisher(store, default_signer())
    task = _task(version, target, args.timeout, args.plugin)
    ended, upstream = _run(store, task, version, publisher.trust)
    final = publisher.finish(task, upstream, ended)
    result = {
        "bundle": str(version),
        "target": str(target),
        "passed": not isinstance(final, Failed),
    }
    if isinstance(ended, Built):
        result |= {"worst": ended.output["worst"], "evidence": ended.output["evidence"]}
    if isinstance(final, Failed):
        result |= {"code": final.code, "message": final.message}
        if final.code in ("error", "crashed", "timeout"):
            print(final.log, file=sys.stderr)
        print(f"{version} on {target}: {final.message}", file=sys.stderr)
    if args.output == "json":
        print_json(result)
    elif result["passed"]:
        print(f"{version} on {target}: validated, worst error {result['worst']:.2g} of 1")
    return exit_code([final])


def _task(version: Version, target: Target, timeout: float, plugins: list[str]) -> Task:
    gpus = () if target.backend == "torch" else target.archs
    name = version.name
    more = (
        {"plugins": {"entrypoints": plugins, "search_path": [str(Path.cwd())]}} if plugins else {}
    )
    return Task(
        TaskId(name, "validate", target),
        spec={"name": name, "target": str(target)} | more,
        needs=(str(TaskId(name, "publish")),),
        resources=Resources(1.0, machine_memory(), timeout, gpus),
    )


def _run(store: Store, task: Task, version: Version, trust: list[str]) -> tuple[Outcome, Upstream]:
    upstream = {task.needs[0]: {"version": version.number, "index": version.digest}}
    call = isolate.Call(STEP, (task.step, task.spec | {"trust": trust}, upstream, store.uri))
    limits = isolate.Limits(
        task.resources.timeout, task.resources.memory, gpu=bool(task.resources.gpus)
    )
    with tempfile.TemporaryDirectory(prefix="kiln-log-") as folder:
        return isolate.run(call, limits, Path(folder) / "log"), upstream


def _entry(store: Store, version: Version) -> dict[str, Any]:
    states = Bundle.open(store, version).states
    aliases = [a for a, number in store.aliases(version.name).items() if number == version.number]
    return {
        "name": version.name,
        "version": version.number,
        "digest": version.digest,
        "aliases": sorted(aliases),
        "variants": {str(target): state for target, state in states.items()},
    }
