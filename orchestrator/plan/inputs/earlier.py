"""The latest results of each task, so that a plan can say what changed since.

    earlier/<model>.json    {task id: [keys, newest first]}

Only for people: nothing is decided by it, and it may be deleted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from enginebundle.errors import BundleError
from enginebundle.format.digest import Digest, canonical_json, is_digest
from enginebundle.storage.store import Store
from orchestrator.plan.changes import nearest
from orchestrator.plan.inputs.lists import spelled_out
from orchestrator.plan.inputs.observe import Now, names_of
from orchestrator.plan.inputs.places import places_of
from orchestrator.plan.task import Task

FOLDER = "earlier"
KEPT = 5
"""So many results of a task are compared."""


def remember(store: Store, made: Mapping[str, Mapping[str, Digest]]) -> None:
    """Note new results: model -> task id -> key."""
    for model, keys in made.items():
        known = _load(store, model)
        for task, key in keys.items():
            known[task] = [key, *(k for k in known.get(task, ()) if k != key)][:KEPT]
        store.put_file(_path(model), canonical_json(known))


class Earlier:
    """What changed in tasks that have to run. Looks into the store only for these.

    `lookup` gives the record of a key, if it can be used.
    """

    def __init__(self, store: Store, lookup: Callable[[Digest], Mapping[str, Any] | None]) -> None:
        self._store = store
        self._lookup = lookup
        self._known: dict[str, dict[str, list[Digest]]] = {}

    def changes(self, task: Task, identity: Mapping[str, Any]) -> list[str] | None:
        """The changes since the nearest of the task's earlier results; None if there is none."""
        if task.model not in self._known:
            self._known[task.model] = _load(self._store, task.model)
        identities = []
        for key in self._known[task.model].get(task.id, ()):
            record = self._lookup(key)
            if record is not None:
                identities.append(spelled_out(self._store, record["identity"]))
        if not identities:
            return None
        present = Now(places_of(task.spec))

        def today(earlier: Mapping[str, Any]) -> Mapping[str, Any]:
            inputs = earlier.get("inputs")
            if not isinstance(inputs, dict):
                return identity
            return {**identity, "inputs": present.inputs(names_of(inputs))}

        return nearest(identities, today)


def _load(store: Store, model: str) -> dict[str, list[Digest]]:
    try:
        found = json.loads(store.get_file(_path(model)) or b"{}")
    except (ValueError, BundleError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {t: list(filter(is_digest, keys)) for t, keys in found.items() if isinstance(keys, list)}


def _path(model: str) -> str:
    return f"{FOLDER}/{model}.json"
