"""Which inputs the results of a task depend on: known only once the task has run, so kept per task.

    inputs/<task's digest>/<digest of names>.json    {"names": ...}: what one run or more of the task read

A task's digest is that of its identity without inputs. To look a result up: for each list of names, see
what they give now; the identity with the digest of that has a key, and the store a result under it, or
not. A list is written once and never changes. Runs that read other names add lists: results of several
branches of a repository lie side by side. What the names gave is a blob, for people.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from enginebundle.errors import BundleError
from enginebundle.format.digest import Digest, canonical_json, digest_json, hexadecimal, parse_json
from enginebundle.storage.store import Store
from orchestrator.plan.inputs.observe import Inputs, Names, Now, names_of, well_formed
from orchestrator.plan.inputs.places import Places, places_of
from orchestrator.plan.keys import records
from orchestrator.plan.task import Task

FOLDER = "inputs"
_FRESH = 1.0
"""Seconds for which a Finder does not look at the same names again."""


def with_inputs(identity: Mapping[str, Any], inputs: Digest) -> dict[str, Any]:
    """The identity of what a task makes from inputs of this digest. Its digest is the result's key."""
    return {**identity, "inputs": inputs}


class Finder:
    """Looks up results. Tasks that read the same names share one look at them.

    `lookup` gives the record of a key, if it can be used.
    """

    def __init__(self, store: Store, lookup: Callable[[Digest], Mapping[str, Any] | None]) -> None:
        self._store = store
        self.lookup = lookup
        self._began = time.monotonic()
        self._given: dict[tuple[Places, str], Digest | None] = {}
        self._now: dict[Places, Now] = {}

    def find(self, task: Task, identity: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The record of a task's result, made from what it would read now; None if there is none."""
        return self.of(task.step, task.spec, identity)

    def of(
        self, step: str, spec: Mapping[str, Any], identity: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """`find` for the task of that step and spec."""
        found = (self.lookup(key) for key in self._keys(step, spec, identity))
        return next((record for record in found if record is not None), None)

    def keys(self, task: Task, identity: Mapping[str, Any]) -> Iterator[Digest]:
        """The keys that a task's result has, by what its earlier runs read, as that is now."""
        return self._keys(task.step, task.spec, identity)

    def _keys(
        self, step: str, spec: Mapping[str, Any], identity: Mapping[str, Any]
    ) -> Iterator[Digest]:
        if not records(step, spec):
            yield digest_json(identity)
            return
        places = places_of(spec)
        if time.monotonic() - self._began > _FRESH:
            self._began, self._given, self._now = time.monotonic(), {}, {}
        for path in self._store.list_files(_folder(identity)):
            inputs = self._inputs(path, places)
            if inputs is not None:
                yield digest_json(with_inputs(identity, inputs))

    def _inputs(self, path: str, places: Places) -> Digest | None:
        """The digest of what a list's names give now; None if the list can't be read."""
        known = (places, PurePosixPath(path).name)  # a list is called by its content's digest
        if known not in self._given:
            names = _names(self._store, path)
            if places not in self._now:
                self._now[places] = Now(places)
            self._given[known] = (
                None if names is None else digest_json(self._now[places].inputs(names))
            )
        return self._given[known]


def save(store: Store, identity: Mapping[str, Any], inputs: Inputs) -> None:
    """Keep the names of these inputs, for later finds, and what they gave."""
    store.put_blob(canonical_json(inputs))
    names = names_of(inputs)
    store.put_file(_path(_folder(identity), names), canonical_json({"names": names}))


def place_of(store: Store, identity: Mapping[str, Any]) -> str:
    """Where the list lies that leads to the result with this whole identity: its path, or that of its folder if
    what was read is not known any more; empty for a result without inputs."""
    task = {name: value for name, value in identity.items() if name != "inputs"}
    if len(task) == len(identity):
        return ""
    inputs = spelled_out(store, identity)["inputs"]
    folder = _folder(task)
    return _path(folder, names_of(inputs)) if isinstance(inputs, dict) else folder


def folder_of(task: Digest) -> str:
    """Where the lists lie of the task whose identity has this digest."""
    return f"{FOLDER}/{hexadecimal(task)}"


def spelled_out(store: Store, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The identity with its inputs in place of their digest, if the store has them."""
    if "inputs" not in identity:
        return dict(identity)
    try:
        return {**identity, "inputs": parse_json(store.read_blob(identity["inputs"]))}
    except (BundleError, ValueError):
        return dict(identity)


def _names(store: Store, path: str) -> Names | None:
    """The names of a list; None if it can't be read, which is as if it were not there."""
    try:
        found = parse_json(store.get_file(path) or b"")["names"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if well_formed(found) else None


def _folder(identity: Mapping[str, Any]) -> str:
    return folder_of(digest_json(identity))


def _path(folder: str, names: Names) -> str:
    return f"{folder}/{hexadecimal(digest_json(names))}.json"
