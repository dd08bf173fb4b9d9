"""Inputs: what a step read, by name, and what each name gives. Looked up again whenever a plan is made.

files          opened: the content's digest        looks       seen by stat: kind and size
folders        listed: a digest of the names       links       where they lead to
imports        folder -> module: the file found    variables   a digest of the value, or null
distributions  versions, or null; under "*" all of them
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from enginebundle.format.digest import digest_json
from orchestrator.plan.inputs import now
from orchestrator.plan.inputs.owners import version
from orchestrator.plan.inputs.places import Places
from orchestrator.plan.inputs.variables import clean
from orchestrator.plan.installed import distributions

Inputs = Mapping[str, Any]
"""The kinds above, each a map from names to values. `imports` maps folders to such maps."""
Names = Mapping[str, Any]
"""The same without values: lists of names; `imports` maps folders to lists."""

ALL = "*"
_KINDS = frozenset({"files", "folders", "links", "looks", "imports", "variables", "distributions"})


def names_of(inputs: Inputs) -> dict[str, Any]:
    """The names alone, sorted."""
    plain = {kind: sorted(found) for kind, found in inputs.items() if kind != "imports"}
    return plain | {"imports": {f: sorted(found) for f, found in inputs["imports"].items()}}


def well_formed(names: Any) -> bool:
    """Whether a value that was read somewhere is Names as we know them."""
    if (
        not isinstance(names, dict)
        or names.keys() != _KINDS
        or not isinstance(names["imports"], dict)
    ):
        return False
    lists = [names[kind] for kind in _KINDS - {"imports"}] + [*names["imports"].values()]
    return all(isinstance(some, list) and all(isinstance(n, str) for n in some) for some in lists)


class Now:
    """What names give at this moment: each name is looked at once."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._names = functools.cache(now.names)
        seen = clean(os.environ)
        of: Mapping[str, Callable[[str], Any]] = {
            "files": lambda name: now.content(places.path(name)),
            "looks": lambda name: now.look(places.path(name)),
            "folders": lambda name: now.listing(places.path(name)),
            "links": self._link,
            "variables": lambda name: now.variable(seen.get(name)),
            "distributions": _distribution,
        }
        self._of = {kind: functools.cache(look) for kind, look in of.items()}

    def inputs(self, names: Names) -> dict[str, Any]:
        """What all of these names give."""
        found: dict[str, Any] = {
            kind: {name: self._of[kind](name) for name in some}
            for kind, some in names.items()
            if kind != "imports"
        }
        found["imports"] = {
            folder: self._modules(self._places.path(folder), modules)
            for folder, modules in names["imports"].items()
        }
        return found

    def _link(self, name: str) -> str | None:
        leads = now.link(self._places.path(name))
        return leads and (self._places.name(leads) or leads)

    def _modules(self, folder: Path, modules: list[str]) -> dict[str, str | None]:
        names = self._names(folder)
        return {module: now.module(folder, module, names) for module in modules}


def _distribution(name: str) -> str | None:
    return version(name) if name != ALL else digest_json(dict(distributions()))
