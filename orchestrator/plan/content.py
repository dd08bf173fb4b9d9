"""What a manifest names outright: its program and golden files and `files:`. Their digests are in the keys.

What a model's code reads beyond that is recorded while it runs (worker/recording) and looked up again
whenever a plan is made (inputs/). Nothing here is imported.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compiler.replace.replacement import Replacement
from compiler.trace.shadow import shadow
from enginebundle.format.digest import Digest, digest_json
from orchestrator.manifest.errors import ManifestError, Problem
from orchestrator.manifest.model import Manifest, Model
from orchestrator.plan.attachments import BadAttachments, attached
from orchestrator.plan.inputs.now import file_digest
from orchestrator.plan.inputs.places import path_entries

EXCLUDED: Mapping[str, str] = {
    "__pycache__": "made by Python from files that are included",
    "node_modules": "not Python",
    "site-packages": "distributions, which are included by name and version",
    "*.egg-info": "what an installer writes about files that are included",
    ".*": "hidden: version control, caches, environments and editors' files",
    "pyvenv.cfg/..": "a virtual environment: its distributions are included by name and version",
}
"""Names that the digest of a folder leaves out, each with the reason."""

STEP_IMPORTS = (
    "compiler", "enginebundle", "mpmath", "numpy", "orchestrator", "psutil", "sympy", "torch",
    "torchgen", "tqdm", "typing_extensions",
)  # fmt: skip
"""Packages that a step has imported before the user's code: they hide modules of the same name.
Modules of Python itself do too; the step finds those when it loads the entrypoint."""

Content = dict[str, Any]


def contents(manifest: Manifest) -> dict[str, Content]:
    """Model name -> what it names outright.

    Raises ManifestError naming every file or module that is missing.
    """
    problems: list[Problem] = []
    found: dict[str, Content] = {}
    for model in manifest.models:
        try:
            found[model.name] = content(model)
        except _Absent as absent:
            problems += [Problem(0, 0, f"{model.name}.{p}", message) for p, message in absent.args]
        except OSError as error:
            problems.append(Problem(0, 0, model.name, f"a file can't be read: {error}"))
    if problems:
        raise ManifestError(str(manifest.folder), problems)
    return found


class NoModule(Exception):
    """An entrypoint's module is not installed, or hidden by another of its name."""


class _Absent(Exception):
    """Arguments: (path in the model, message) of each thing that is missing."""


def content(model: Model) -> Content:
    """Digests of the files that a model names, and how many folders an import of its code searches."""
    absent: list[tuple[str, str]] = []
    path = model.source.search_path
    result: Content = {"files": {}, "PYTHONPATH": len(path_entries(_pythonpath()))}
    for part, given, file in (
        ("source", model.source, model.source.program),
        ("goldens", model.goldens, model.goldens.file),
    ):
        if given.entrypoint is not None:
            absent += _missing(f"{part}.entrypoint", given.entrypoint, path)
        elif file is not None:
            if Path(file).is_file():
                result[part] = file_digest(Path(file))
            else:
                name = "program" if part == "source" else "file"
                absent.append((f"{part}.{name}", f"no file {file}; expected one there"))
    for index, one in enumerate(model.replace):
        for own in _own_code(one):
            absent += _missing(f"replace[{index}]", own, path)
    for named in model.files:
        if named.exists():
            digest = tree_digest(named) if named.is_dir() else file_digest(named)
            result["files"][_spelled(named, path)] = digest
        else:
            absent.append(("files", f"no file or folder {named}; expected one there"))
    for index, entrypoint in enumerate(model.plugins):
        absent += _missing(f"plugins[{index}]", entrypoint, path)
    try:
        if model.attachments:
            result["attachments"] = attached(model.attachments)
    except BadAttachments as error:
        absent.append(("attachments", str(error)))
    if absent:
        raise _Absent(*absent)
    return result


def _pythonpath() -> str:
    return os.environ.get("PYTHONPATH", "")


def _spelled(file: Path, search_path: tuple[str, ...]) -> str:
    """A file of `files:` as the manifest spells it: relative to its folder, unless it is absolute."""
    for folder in search_path[:1]:
        if file.is_relative_to(folder):
            return file.relative_to(folder).as_posix()
    return file.as_posix()


def _own_code(replacement: Replacement) -> Iterator[str]:
    """The entrypoints that a replacement imports."""
    if replacement.way != "plugin":
        yield replacement.by
    if replacement.kind == "function":
        yield replacement.pattern


def _missing(place: str, entrypoint: str, search_path: tuple[str, ...]) -> list[tuple[str, str]]:
    try:
        find_module(entrypoint, search_path)
    except NoModule as error:
        return [(place, str(error))]
    return []


def find_module(entrypoint: str, search_path: tuple[str, ...]) -> None:
    """Look for the module of `package.module:function`, without importing it.

    NoModule if neither `search_path` nor `sys.path` has a module of that name, or if an installed
    package hides the one on `search_path`.
    """
    module = entrypoint.partition(":")[0]
    if hidden := shadow(module, search_path, STEP_IMPORTS):
        raise NoModule(f"{hidden.text('beside the manifest')}; rename it")
    top = module.partition(".")[0]
    spec = importlib.machinery.PathFinder.find_spec(top, [*search_path, *sys.path])
    # Editable installs can add their own finders, which only the general search asks.
    try:
        spec = spec or importlib.util.find_spec(top)
    except ValueError:  # a module without a spec, such as __main__
        spec = None
    found = spec is not None and spec.name == top  # __main__ can have another module's spec
    if spec is None or not found or not (spec.origin or spec.submodule_search_locations):
        raise NoModule(
            f"no module named {top!r}; looked in {', '.join(search_path)} and then Python's path. "
            "Install it, or put it beside the manifest"
        )


def tree_digest(folder: Path) -> Digest:
    """Digest of the relative names and contents of a folder's files, without those EXCLUDED."""
    return digest_json(dict(_walk(folder, folder)))


def _walk(folder: Path, root: Path, above: tuple[Path, ...] = ()) -> Iterator[tuple[str, Digest]]:
    """(relative name, digest) of every regular file. Follows links, but never into a folder above."""
    real = folder.resolve()
    if real in above:
        return
    for entry in sorted(folder.iterdir()):
        if _excluded(entry):
            continue
        if entry.is_dir():
            yield from _walk(entry, root, (*above, real))
        elif entry.is_file():
            yield entry.relative_to(root).as_posix(), file_digest(entry)


def _excluded(entry: Path) -> bool:
    name = entry.name
    return (
        name in ("__pycache__", "node_modules", "site-packages")
        or name.startswith(".")
        or name.endswith(".egg-info")
        or (entry.is_dir() and (entry / "pyvenv.cfg").is_file())
    )
