"""`kiln explain A B`: the fields in which the identities of two results differ."""

from __future__ import annotations

import argparse
from typing import Any

from enginebundle.errors import NotFoundError
from enginebundle.format.digest import is_digest
from enginebundle.storage.store import Store
from orchestrator.commands.common import UsageError, open_store, print_json
from orchestrator.plan.differences import differences
from orchestrator.plan.inputs.lists import spelled_out
from orchestrator.plan.task_id import TaskId
from orchestrator.report import record

_RESULT = "result"
Identities = dict[str, Any]
"""Identities of tasks by role: `build/rtx:sm_89/short`."""


def explain(args: argparse.Namespace) -> int:
    """Compare task by task, and name the tasks that only one side has."""
    store = open_store(args.store)
    a, b = _identities(store, args.a), _identities(store, args.b)
    found = {role: differences(a[role], b[role]) for role in a if role in b}
    alone = {"a": sorted(a.keys() - b.keys()), "b": sorted(b.keys() - a.keys())}
    if not found:
        raise UsageError(
            f"{args.a} and {args.b} have no task in common: they have "
            f"{', '.join(alone['a'])} and {', '.join(alone['b'])}"
        )
    if args.output == "json":
        told = {role: [d.to_json() for d in changes] for role, changes in found.items()}
        print_json({"differences": told, "only": alone})
        return 0
    for role, changes in found.items():
        print(f"{role}: {'differs' if changes else 'same'}")
        for change in changes:
            print(f"  {change}")
    for side, name in (("a", args.a), ("b", args.b)):
        for role in alone[side]:
            print(f"{role}: only in {name}")
    return 0


def _identities(store: Store, given: str) -> Identities:
    if is_digest(given):
        return {_RESULT: _identity(store, given)}
    if given in record.ids(store):
        return _of_tasks(store, record.tasks(store, given), model=None)
    version = store.resolve(given)
    run = record.made(store, version)
    if run is None:
        raise NotFoundError(
            f"no run in {store.uri} tells how {version} was made; compare the keys of two results "
            "(sha256:...), which `kiln plan -o json` shows"
        )
    return _of_tasks(store, record.tasks(store, run), version.name)


def _of_tasks(store: Store, tasks: dict[str, Any], model: str | None) -> Identities:
    """By role for one model; by the whole task id for a run, which may have several models."""
    found = {}
    for name, entry in tasks.items():
        task_id = TaskId.parse(name)
        if "key" in entry and model in (None, task_id.model):
            found[name if model is None else task_id.role] = _identity(store, entry["key"])
    return found


def _identity(store: Store, key: str) -> Any:
    record = store.result(key)
    if record is None:
        raise NotFoundError(f"store {store.uri} has no result for key {key}")
    return spelled_out(store, record["identity"])
