"""Which inputs the results of a task depend on: known only once the task has run, so kept per task.

    inputs/<task's digest>/<digest>.json    {"names": ...}: what one run or more of the task read

A task's digest is that of its identity without inputs. To look a result up: for each list of names, see
what they give now; the identity with these inputs has a key, and the store a result under it, or not.
A list is written once and never changes. Runs that read other names add lists: results of several
branches of a repository lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from enginebundle.format.digest import Digest, canonical_json, digest_json, hexadecimal, parse_json
from orchestrator.plan.inputs.observe import Inputs, Names, Now, names_of
from orchestrator.plan.inputs.places import Places, places_of
from orchestrator.plan.keys import records
from orchestrator.plan.task import Task

FOLDER = "inputs"


class Lists(Protocol):
    """The part of a Store that lists of names need."""

    def result(self, key: Digest) -> dict[str, Any] | None: ...
    def put_file(self, path: str, data: bytes) -> None: ...
    def get_file(self, path: str) -> bytes | None: ...
    def list_files(self, prefix: str) -> list[str]: ...


def with_inputs(identity: Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
    """The identity of what a task makes from these inputs. The digest of it is the result's key."""
    return {**identity, "inputs": dict(inputs)}


def record_of(store: Lists, task: Task, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of a task's result, made from what it would read now; None if there is none."""
    if records(task.step, task.spec):
        return find(store, identity, places_of(task.spec))
    return store.result(digest_json(identity))


def find(store: Lists, identity: Mapping[str, Any], places: Places) -> dict[str, Any] | None:
    """The record of a result made from what the task would read now; None if there is none."""
    present = Now(places)
    for names in known(store, identity):
        record = store.result(digest_json(with_inputs(identity, present.inputs(names))))
        if record is not None:
            return record
    return None


def known(store: Lists, identity: Mapping[str, Any]) -> Iterator[Names]:
    """Each list of names that a run of the task has left. One that can't be read is passed over."""
    for path in store.list_files(_folder(identity)):
        try:
            yield parse_json(store.get_file(path) or b"")["names"]
        except (ValueError, TypeError, KeyError):
            continue


def save(store: Lists, identity: Mapping[str, Any], inputs: Inputs) -> None:
    """Keep the names of these inputs, for later `find`s."""
    data = canonical_json({"names": names_of(inputs)})
    name = hexadecimal(digest_json(names_of(inputs)))
    store.put_file(f"{_folder(identity)}/{name}.json", data)


def _folder(identity: Mapping[str, Any]) -> str:
    return f"{FOLDER}/{hexadecimal(digest_json(identity))}"
