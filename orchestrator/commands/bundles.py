"""`kiln list`, `kiln inspect`, `kiln validate`: what is published, and validating it later."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from enginebundle.errors import BundleError, UntrustedError
from enginebundle.format.spec import Target
from enginebundle.format.variant import Variant
from enginebundle.format.verdict import Verdict
from enginebundle.serve.bundle import Bundle
from enginebundle.storage.pointer import Pointer
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
from orchestrator.report.tolerance import tolerance_text
from orchestrator.run.executor import machine_memory
from orchestrator.run.publish import Publisher
from orchestrator.worker import isolate
from orchestrator.worker.attempt import STEP
from orchestrator.worker.outcome import Built, Failed, Outcome


def list_bundles(args: argparse.Namespace) -> int:
    """Print every version, with its aliases and its variants: their states, and what these rest on."""
    store = open_store(args.store)
    entries = [_entry(store, v) for name in store.names() for v in store.versions(name)]
    if args.output == "json":
        print_json(entries)
        return 0
    rows = [("BUNDLE", "ALIASES", "TARGET", "STATE", "TOLERANCE", "GOLDENS")]
    notes = []
    for entry in entries:
        name, aliases = f"{entry['name']}@{entry['version']}", ", ".join(entry["aliases"])
        notes += entry["unfollowed"].values()
        if entry["refused"]:
            rows.append((name, aliases, "-", "untrusted", "-", "-"))
            notes.append(f"{name}: {entry['refused']}")
        for target, one in entry["details"].items():
            rows.append((name, aliases, target, one["state"], one["tolerance"], entry["goldens"]))
            notes += [f"{name} on {target}: {one['reason']}"] if one["reason"] else []
            notes += [f"{name} on {target}, {told}" for told in one["fallback"]]
    print(columns(rows))
    print("\n".join(notes), end="\n" if notes else "")
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
            "signers": list(bundle.signers),
            "evidence": [
                json.loads(one) for one in dict.fromkeys(e.document for e in bundle.evidence)
            ],
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
    variant = index.variant(target)
    if variant is None:
        known = [str(one.target) for one in index.variants]
        raise unknown("variant", args.target, known)
    publisher = Publisher(store, default_signer())
    task = _task(version, target, args.timeout, args.plugin, args.operator)
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
        bounds = tolerance_text(bound for _, bound in variant.tolerances)
        print(
            f"{version} on {target}: validated, worst error {result['worst']:.2g} of 1, tolerance {bounds}"
        )
    return exit_code([final])


def _task(
    version: Version, target: Target, timeout: float, plugins: list[str], operators: list[str]
) -> Task:
    gpus = () if target.backend == "torch" else target.archs
    name = version.name
    more: dict[str, Any] = (
        {"plugins": {"entrypoints": plugins, "search_path": [str(Path.cwd())]}} if plugins else {}
    )
    more |= {"operators": operators} if operators else {}
    return Task(
        TaskId(name, "validate", target),
        spec={"name": name, "target": str(target)} | more,
        needs=(str(TaskId(name, "publish")),),
        resources=Resources(1.0, machine_memory(), timeout, gpus),
    )


def _run(store: Store, task: Task, version: Version, trust: list[str]) -> tuple[Outcome, Upstream]:
    upstream = {task.needs[0]: {"version": version.number, "index": version.digest}}
    call = isolate.Call(
        STEP, (task.step, task.spec | {"trust": trust}, upstream, store.uri), step=task.step
    )
    limits = isolate.Limits(
        task.resources.timeout, task.resources.memory, gpu=bool(task.resources.gpus)
    )
    with tempfile.TemporaryDirectory(prefix="kiln-log-") as folder:
        return isolate.run(call, limits, Path(folder) / "log", store=store), upstream


def _entry(store: Store, version: Version) -> dict[str, Any]:
    """A version as JSON. `refused` says why this machine does not open it; then it has no variants."""
    pointers = [p for p in store.pointers(version.name) if p.version == version.number]
    unfollowed = {p.alias: why for p in pointers if (why := _unfollowed(store, p, version))}
    entry: dict[str, Any] = {
        "name": version.name,
        "version": version.number,
        "digest": version.digest,
        "aliases": sorted(p.alias for p in pointers if p.alias not in unfollowed),
        "unfollowed": unfollowed,
        "refused": "",
        "goldens": "-",
        "variants": {},
        "details": {},
    }
    try:
        bundle = Bundle.open(store, version)
    except UntrustedError as error:
        return entry | {"refused": str(error)}
    found = bundle.verdicts
    return entry | {
        "goldens": "drawn" if bundle.index.drawn else "given",
        "variants": {str(target): verdict.state for target, verdict in found.items()},
        "details": {str(v.target): _detail(v, found[v.target]) for v in bundle.index.variants},
    }


def _unfollowed(store: Store, pointer: Pointer, version: Version) -> str:
    """Why the loader of this machine does not follow an alias to the version that it says."""
    try:
        move = store.move(pointer)
    except BundleError as error:
        return str(error)
    if move.index == version.digest:
        return ""
    return f"{pointer} was signed for index {move.index}, and {version} is {version.digest}"


def _detail(variant: Variant, found: Verdict) -> dict[str, Any]:
    parts = [part for part in variant.parts if part.fallback is not None]
    return {
        "state": found.state,
        "reason": found.reason,
        "tolerance": tolerance_text(bound for _, bound in variant.tolerances),
        "worst": None if found.evidence is None else found.evidence.worst,
        "fallback": [f"{', '.join(part.profiles)}: {part.fallback}" for part in parts],
    }
