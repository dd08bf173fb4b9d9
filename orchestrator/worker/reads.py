"""A record of a step's reads as inputs: named, without what is no input, and the same after the step."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginebundle.format.digest import Digest, digest_json
from enginebundle.storage.home import cache_folder
from enginebundle.storage.store import Store
from orchestrator.plan.inputs import now
from orchestrator.plan.inputs.lists import with_inputs
from orchestrator.plan.inputs.observe import Inputs, Now
from orchestrator.plan.inputs.owners import is_metadata, owners, site_of
from orchestrator.plan.inputs.places import Places, places_of
from orchestrator.worker.recording.observer import Record, state
from orchestrator.worker.recording.request import Recording

_GIVEN = (("source", "program"), ("goldens", "file"))
"""Files whose digests are in the task: that they are read as well adds nothing."""


class Changed(Exception):
    """A file was not the same before and after the step, and the step did not write it."""


@dataclass(frozen=True, slots=True)
class Read:
    """The whole identity of what a step made, with what it read, and its digest. `inputs` is None for a step
    that is not recorded; `unkeyed` names what it used that no record shows."""

    key: Digest
    identity: Mapping[str, Any]
    inputs: Inputs | None = None
    unkeyed: tuple[str, ...] = ()


def read_by(
    spec: Mapping[str, Any], identity: Mapping[str, Any], told: Mapping[str, Any] | None
) -> Read:
    """What a step with this spec and this identity read, by what its watcher told; None: nothing.

    Raises Changed.
    """
    record = Record() if told is None else Record.from_json(told)
    given = [spec.get(part, {}).get(name) for part, name in _GIVEN]
    inputs = inputs_of(record, places_of(spec), [path for path in given if path])
    whole = with_inputs(identity, digest_json(inputs))
    return Read(digest_json(whole), whole, inputs, tuple(record.unrecorded))


def recording_of(step: str, spec: Mapping[str, Any], store: Store) -> Recording:
    """How to record a step. The store is not the model's, nor is a copy of it.

    What can't be recorded is stopped where a model is made. A later step may need it (TensorRT plugins
    compile kernels): it is named.
    """
    local = store.storage.local("store.json")
    folder = cache_folder() if local is None else local.parent
    refuses = step == "trace" and spec.get("unrecorded", "refuse") == "refuse"
    return Recording((str(folder),), refuses)


def inputs_of(record: Record, places: Places, given: Collection[str] = ()) -> dict[str, Any]:
    """What the step read, by name, with what each name gave when the step saw it first.

    `given` are files whose digests are in the task already. Raises Changed.
    """
    return _Reads(record, places, given).inputs()


class _Reads:
    def __init__(self, record: Record, places: Places, given: Collection[str]) -> None:
        self.record, self.places = record, places
        self.given = {os.path.abspath(path) for path in given}
        self.distributions = set(record.distributions)
        self.written = set(record.written)
        here = Path(tempfile.gettempdir())  # a step has its own folders in it
        self.above = places.above | {str(folder) for folder in (here, *here.parents)}

    def inputs(self) -> dict[str, Any]:
        files = self._files()
        folders = {name: self._listed(path) for path, name in self._named(self.record.listed)}
        links = {
            name: leads and (self.places.name(leads) or leads)
            for path, name in self._named(self.record.links)
            if (leads := self.record.links[path]) is not None
        }
        present = Now(self.places)
        return {
            "files": files,
            "folders": folders,
            "links": links,
            "looks": self._looks(files, folders),
            "imports": self._imports(),
            "variables": dict(sorted(self.record.variables.items())),
            "distributions": present.inputs(
                {"distributions": sorted(self.distributions), "imports": {}}
            )["distributions"],
        }

    def _named(self, paths: Collection[str]) -> list[tuple[str, str]]:
        """(path, name) of each that is an input, in order of the names."""
        found = [(path, self._name(path) or "") for path in paths if path not in self.given]
        return sorted((pair for pair in found if pair[1]), key=lambda pair: pair[1])

    def _name(self, path: str) -> str | None:
        if path in self.places.above:
            return None
        place = site_of(path)
        if place is not None:
            _, rest = place
            if is_metadata(rest) or owners(rest, place[0]):
                return None
        return self.places.name(path)

    def _files(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in self.record.opened:
            place = site_of(path)
            if place is not None and not is_metadata(place[1]):
                self.distributions.update(owners(place[1], place[0]))
        for path, name in self._named(self.record.opened):
            if now.UNLISTED in name.split("/"):
                source, module = os.path.split(path.replace(f"/{now.UNLISTED}/", "/"))
                path = os.path.join(source, module.split(".")[0] + ".py")
                name = self.places.name(path) or ""
                found.setdefault(name, now.content(Path(path)))
            else:
                found[name] = self._content(path)
        return found

    def _content(self, path: str) -> str:
        """The content that the step saw."""
        if path in self.record.contents:
            return self.record.contents[path]
        content = now.content(Path(path))
        if path not in self.written and state(path) != self.record.opened[path]:
            raise Changed(path)
        return content

    def _listed(self, path: str) -> str:
        seen = self.record.listed[path]
        inside = any(written.startswith(path + "/") for written in self.written)
        if not inside and now.listing(Path(path)) != seen:
            raise Changed(path)
        return seen

    def _looks(self, files: Collection[str], folders: Collection[str]) -> dict[str, str]:
        """Looks at what was not read as well. A folder is there if something in it was."""
        above = _above([*self.record.opened, *self.record.listed])
        found = {}
        for path, name in self._named(self.record.looked):
            seen = self.record.looked[path]
            plain = seen == now.FOLDER and (path in above or path in self.above)
            if name in files or name in folders or plain or now.UNLISTED in name.split("/"):
                continue
            if path not in self.written and not self._made(path) and now.look(Path(path)) != seen:
                raise Changed(path)
            found[name] = seen
        return found

    def _made(self, path: str) -> bool:
        return any(path.startswith(written + "/") for written in self.written)

    def _imports(self) -> dict[str, dict[str, str | None]]:
        found = {}
        for folder, modules in sorted(self.record.imports.items()):
            name = self.places.name(folder)
            if name is None:
                continue
            if site_of(folder + "/") is not None:
                # What was found there counts as a distribution or a file; what was not, by its name.
                if os.path.exists(f"{folder}/__init__.py"):
                    continue
                modules = {module: None for module, place in modules.items() if place is None}
            if modules:
                found[name] = dict(sorted(modules.items()))
        return found


def _above(paths: Collection[str]) -> set[str]:
    """All folders above these files."""
    found: set[str] = set()
    for path in paths:
        while (path := os.path.dirname(path)) not in found:
            found.add(path)
    return found
