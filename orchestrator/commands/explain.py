"""`kiln explain A B`: what is other in two results: first where it began, then what follows from it."""

from __future__ import annotations

import argparse
from typing import Any, get_args

from enginebundle.errors import NotFoundError
from enginebundle.format.digest import is_digest
from enginebundle.storage.store import Store
from orchestrator.commands.common import UsageError, open_store, print_json
from orchestrator.plan.changes import changes, follows
from orchestrator.plan.differences import differences
from orchestrator.plan.inputs.lists import spelled_out
from orchestrator.plan.task_id import Step, TaskId
from orchestrator.report import record

_RESULT = "result"
Identities = dict[str, Any]
"""Identities of tasks by role: `build/rtx:sm_89/short`."""


def explain(args: argparse.Namespace) -> int:
    """Compare task by task, and name the tasks that only one side has.

    A task that differs only in what others made, or as they do, is named in one line.
    """
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
        fields = {role: [one.to_json() for one in ones] for role, ones in found.items()}
        print_json({"differences": fields, "only": alone})
        return 0
    told = {role: changes(a[role], b[role]) for role in sorted(found, key=_place)}
    roots: list[str] = []
    known: set[str] = set()
    for role, all_ in told.items():
        own = [change for change in all_ if not follows(change) and change not in known]
        if own:
            roots.append(role)
            print(f"{role}: differs")
            for change in own:
                print(f"  {change}")
        known |= set(own)
    behind = [role for role in told if told[role] and role not in roots]
    if behind:
        print(f"{len(behind)} {'follows' if len(behind) == 1 else 'follow'}: {', '.join(behind)}")
    same = [role for role in found if not told[role]]
    if same:
        print(f"same: {', '.join(same)}")
    for side, name in (("a", args.a), ("b", args.b)):
        for role in alone[side]:
            print(f"{role}: only in {name}")
    return 0


def _place(role: str) -> tuple[int, str]:
    """Tasks in the order in which they run."""
    steps = get_args(Step)
    return min(
        steps.index(part) for part in role.split("/") if part in steps
    ) if role != _RESULT else 0, role


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
        known = entry.get("key") if entry["kind"] in ("built", "cached") else None
        if known and model in (None, task_id.model):
            found[name if model is None else task_id.role] = _identity(store, known)
    return found


def _identity(store: Store, key: str) -> Any:
    record = store.result(key)
    if record is None:
        raise NotFoundError(f"store {store.uri} has no result for key {key}")
    return spelled_out(store, record["identity"])
