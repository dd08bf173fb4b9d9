"""Whether another module of the same name hides the user's own. Imports neither of them.

A module that has already been imported wins over every folder of a search path, and so does a module
built into Python. A module that is merely installed does not: search paths come first.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Sequence
from dataclasses import dataclass
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True, slots=True)
class Shadow:
    """The user's module is at `own`; an import of `name` gives `other`, None if built into Python."""

    name: str
    own: str
    other: str | None

    def text(self, place: str) -> str:
        """A sentence for the user; `place` says where their module is, such as "beside the manifest"."""
        other = (
            f"the installed package {self.name} at {self.other}"
            if self.other
            else f"the module {self.name} that is built into Python"
        )
        return f"module {self.name!r} {place} ({self.own}) is shadowed by {other}"


def shadow(module: str, search_path: Sequence[str], imported: Container[str]) -> Shadow | None:
    """What hides the `package.module` that a folder of `search_path` holds; None if nothing does.

    `imported` names what the process that loads the module has imported by then: `sys.modules` if
    it is this process. Also None if no folder of `search_path` holds such a module.
    """
    folders = [str(Path(folder).resolve()) for folder in search_path]
    name, _, rest = module.partition(".")
    own = _location(PathFinder.find_spec(name, folders)) or _bare_folder(name, rest, folders)
    if own is None:
        return None
    known = sys.modules.get(name)
    if known is not None and _file(known) == own:
        return None
    if BuiltinImporter.find_spec(name) or FrozenImporter.find_spec(name):
        return Shadow(name, own, None)
    installed = _location(PathFinder.find_spec(name, [p for p in sys.path if p not in folders]))
    new = [folder for folder in folders if folder not in sys.path]
    first = _location(PathFinder.find_spec(name, [*new, *sys.path]))
    before = name in imported and (known is None or _file(known) == installed)
    other = installed if before else first
    return None if other in (None, own) else Shadow(name, own, other)


def _bare_folder(name: str, rest: str, folders: Sequence[str]) -> str | None:
    """A folder `name` without __init__.py that holds the module `rest`: any package hides it."""
    for folder in folders if rest else ():
        place = Path(folder, name, *rest.split("."))
        if place.with_suffix(".py").is_file() or (place / "__init__.py").is_file():
            return str(Path(folder, name))
    return None


def _location(spec: ModuleSpec | None) -> str | None:
    """A package's folder or a module's file; None for a folder without __init__.py."""
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).resolve()
    return str(file if spec.submodule_search_locations is None else file.parent)


def _file(module: ModuleType) -> str | None:
    """`_location` of a module that was imported."""
    file = getattr(module, "__file__", None)
    if file is None:
        return None
    return str(Path(file).resolve().parent if hasattr(module, "__path__") else Path(file).resolve())
