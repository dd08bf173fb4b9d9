"""`kiln run`: plans, drives, records and reports a run."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from enginebundle.errors import BundleError
from enginebundle.format.verdict import Verdict
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from orchestrator.commands.common import (
    UsageError,
    local_archs,
    open_store,
    print_json,
    unknown,
)
from orchestrator.commands.manifests import make_plan
from orchestrator.keep.alive import alive
from orchestrator.keep.results import Results
from orchestrator.manifest.load import load
from orchestrator.plan import keys
from orchestrator.plan.content import contents
from orchestrator.plan.decide import Plan
from orchestrator.plan.inputs.earlier import remember
from orchestrator.plan.inputs.lists import Finder
from orchestrator.plan.task import Task, Upstream
from orchestrator.plan.task_id import TaskId
from orchestrator.plan.tasks import sized
from orchestrator.report import report
from orchestrator.report.exit_codes import exit_code
from orchestrator.report.progress import progress
from orchestrator.report.record import Record, new_id
from orchestrator.run.drive import Farm, Transition, drive
from orchestrator.run.executor import Executor, LocalExecutor
from orchestrator.run.failures import Failures
from orchestrator.run.publish import Publisher, version_of
from orchestrator.worker import outcome
from orchestrator.worker.attempt import Attempt
from orchestrator.worker.outcome import Built, Cached, Outcome


def run(args: argparse.Namespace) -> int:
    """Run every task of the manifest; returns the exit code."""
    path = Path(args.manifest)
    manifest = load(path)
    found = contents(manifest)  # Mistakes in the request show before a store is created.
    store = open_store(args.store, create=True)
    archs = local_archs()
    if args.elastic and not args.address:
        raise UsageError(
            "--elastic waits for a cluster's autoscaler: name the cluster with --address"
        )
    executor = _cluster(args) if args.address else None
    stack = contextlib.ExitStack()
    try:
        if executor is not None:
            archs = executor.archs()
        retry = args.retry_failed
        record = Record(store, args.run_id or new_id(manifest.digest))
        # Before the plan: what that finds, the run uses, so no sweep may take it away in between.
        stack.enter_context(alive(store, record.run))
        plan = make_plan(manifest, found, store, archs, elastic=args.elastic, retry=retry)
        tasks = plan.tasks if args.only is None else _only(plan, args.only)
        _start(record, store, path, plan)
        publisher = Publisher(store, default_signer(), record.run, args.allow_unproved)
        finder = Finder(store, Results(store).result)
        failures = Failures(store, record.run, retry, finder.keys)
        _announce(plan, tasks, record.run, store)
        again = ["kiln", "run", str(path), "--store", store.uri, "--only"]
        began = datetime.now(UTC)
        with progress(tasks) as display:

            def listen(transition: Transition) -> None:
                display(transition)
                record(transition)

            farm = Farm(
                identify=_identify,
                find=finder.find,
                attempt=lambda *details: _attempt(
                    record.run, store, publisher.trust, again, *details
                ),
                executor=lambda: executor or _executor(args, archs),
                sized=sized,
                driver_steps={"publish": publisher.publish, "promote": publisher.promote},
                finish=publisher.finish,
                known=failures.known,
                remember=failures.remember,
                listen=listen,
                tick=record.tick,
                found=plan.found,
            )
            outcomes, interrupted = drive(tasks, farm)
    finally:
        stack.close()
        if executor is not None:
            executor.close()
    results = _results(publisher, plan, tasks, outcomes, interrupted)
    _remember(store, tasks, outcomes, results["tasks"])
    results |= {"run": record.run, "store": store.uri, "began": began.isoformat()}
    record.finish(results)
    _print(args, results, tasks, outcomes)
    return int(results["exit_code"])


def _start(record: Record, store: Store, path: Path, plan: Plan) -> None:
    """The first write: if the store can't be written, the run ends here, before any work."""
    try:
        record.start(path, plan.to_json())
    except BundleError as error:
        raise UsageError(f"store {store.uri} can't be written: {error}") from error


def _cluster(args: argparse.Namespace) -> Any:
    if args.executor != "ray":
        raise UsageError("--address names a Ray cluster, so --executor must be ray")
    return _ray()(args.address, elastic=args.elastic)


def _executor(args: argparse.Namespace, archs: tuple[str, ...]) -> Executor:
    if args.executor == "local":
        return LocalExecutor(args.jobs, archs=archs)
    executor: Executor = _ray()(None, args.jobs, archs)
    return executor


def _ray() -> Any:
    try:
        from orchestrator.run.ray_executor import RayExecutor
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UsageError(
            "Ray is not installed: pip install 'enginekiln[farm]', or run with --executor local"
        ) from error
    return RayExecutor


def _only(plan: Plan, wanted: str) -> tuple[Task, ...]:
    """One task and everything it needs, directly or indirectly."""
    tasks = {task.id: task for task in plan.tasks}
    if wanted not in tasks:
        raise unknown("task", wanted, list(tasks))
    keep, left = {wanted}, [wanted]
    while left:
        needs = set(tasks[left.pop()].needs) - keep
        keep |= needs
        left += needs
    return tuple(task for task in plan.tasks if task.id in keep)


def _identify(task: Task, upstream: Upstream) -> Mapping[str, Any] | None:
    return keys.identity(task, upstream) if keys.cacheable(task) else None


def _attempt(
    run_id: str,
    store: Store,
    trust: list[str],
    again: list[str],
    task: Task,
    identity: Mapping[str, Any],
    upstream: Upstream,
    number: int,
) -> Attempt:
    extra = {"trust": trust} if task.step == "validate" else {}
    return Attempt(
        id=task.id,
        number=number,
        run=run_id,
        step=task.step,
        spec=task.spec | extra,
        upstream=upstream,
        identity=identity,
        store=store.uri,
        cpus=task.resources.cpus,
        memory=task.resources.memory,
        timeout=task.resources.timeout,
        label=task.resources.label,
        reproduce=shlex.join([*again, task.id]),
    )


def _announce(plan: Plan, tasks: Sequence[Task], run_id: str, store: Store) -> None:
    print(f"run {run_id}: {len(tasks)} tasks, store {store.uri}", file=sys.stderr)
    wanted = {task.id for task in tasks}
    for task, decision in zip(plan.tasks, plan.decisions, strict=True):
        if decision.status == "blocked" and task.id in wanted:
            print(f"{task.id} is blocked: {decision.why}", file=sys.stderr)
    if plan.pending:
        print(
            f"{len(plan.pending)} validations have no machine here and stay pending; see `kiln plan`",
            file=sys.stderr,
        )


def _results(
    publisher: Publisher,
    plan: Plan,
    tasks: Sequence[Task],
    outcomes: Mapping[str, Outcome],
    interrupted: bool,
) -> dict[str, Any]:
    table = report.rows(tasks, outcomes, _verdicts(publisher, tasks, outcomes))
    outputs = {n: o.output for n, o in outcomes.items() if isinstance(o, Built | Cached)}
    skipped = {n for n, o in outcomes.items() if isinstance(o, outcome.Skipped | outcome.Blocked)}
    entries = {}
    for task in tasks:
        entry = outcome.to_json(outcomes[task.id])
        known = entry.pop("key", None)
        upstream = {need: outputs[need] for need in task.needs if need in outputs}
        complete = {*task.needs} - {*task.optional} <= upstream.keys()
        if complete and task.id not in skipped and keys.cacheable(task):
            entry["key"] = known or keys.key(task, upstream)
        entries[task.id] = entry
    return {
        "manifest": plan.manifest,
        "exit_code": exit_code(outcomes.values(), interrupted),
        "ended": datetime.now(UTC).isoformat(),
        "totals": report.totals(table),
        "rows": [row.to_json() for row in table],
        "tasks": entries,
    }


def _remember(
    store: Store,
    tasks: Sequence[Task],
    outcomes: Mapping[str, Outcome],
    entries: Mapping[str, Any],
) -> None:
    """Note the results that this run has made, for the plans to come."""
    made: dict[str, dict[str, str]] = {}
    for task in tasks:
        if isinstance(outcomes[task.id], Built) and "key" in entries[task.id]:
            made.setdefault(task.model, {})[task.id] = entries[task.id]["key"]
    with contextlib.suppress(BundleError):  # Only for people.
        remember(store, made)


def _verdicts(
    publisher: Publisher, tasks: Sequence[Task], outcomes: Mapping[str, Outcome]
) -> dict[TaskId, Verdict]:
    """What the loader makes of each published variant, by its validation."""
    found: dict[TaskId, Verdict] = {}
    for task in tasks:
        published = outcomes[task.id]
        if task.step == "publish" and isinstance(published, Built | Cached):
            try:
                known = publisher.proofs.verdicts(version_of(task, published.output))
            except BundleError:  # then the publication has failed, or the store has: both are told
                continue
            found |= {TaskId(task.model, "validate", t): v for t, v in known.items()}
    return found


def _print(
    args: argparse.Namespace,
    results: Mapping[str, Any],
    tasks: Iterable[Task],
    outcomes: Mapping[str, Outcome],
) -> None:
    if args.output == "json":
        print_json(results)
        return
    table = [report.Row(**row) for row in results["rows"]]
    if table:
        print(report.text(table))
    print(results["totals"])
    print(report.task_totals(outcomes))
    for task in tasks:
        ended = outcomes[task.id]
        if isinstance(ended, outcome.Failed) and ended.reproduce:
            print(f"again: {ended.reproduce}", file=sys.stderr)
