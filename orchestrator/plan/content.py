"""Digests of the files behind a manifest, none of which is imported.

Everything that an entrypoint can read on its own is included, unless EXCLUDED names it with a
reason: the whole package that it is in (or, for a plain module, the modules, data files and packages
in its folder), every local or editable installation, files named by its arguments, and the
manifest's `files:`. Installed distributions are in the keys too, by name and version (installed.py).
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
from enginebundle.format.digest import Digest, digest_file, digest_json
from orchestrator.manifest.errors import ManifestError, Problem
from orchestrator.manifest.model import Manifest, Model
from orchestrator.plan.local_installs import local_installs

EXCLUDED: Mapping[str, str] = {
    "__pycache__": "made by Python from files that are included",
    "node_modules": "not Python",
    "site-packages": "distributions, which are included by name and version",
    "*.egg-info": "what an installer writes about files that are included",
    ".*": "hidden: version control, caches, environments and editors' files",
    "pyvenv.cfg/..": "a virtual environment: its distributions are included by name and version",
    "*.yaml, *.yml": "beside a plain module they are manifests, whose models are included; name others in `files:`",
}
"""Names that tree digests leave out, each with the reason."""

STEP_IMPORTS = (
    "compiler", "enginebundle", "mpmath", "numpy", "orchestrator", "psutil", "sympy", "torch",
    "torchgen", "tqdm", "typing_extensions",
)  # fmt: skip
"""Packages that a step has imported before the user's code: they hide modules of the same name.
Modules of Python itself do too; the step finds those when it loads the entrypoint."""

LISTED = 200
"""A tree of at most this many files is listed file by file, so that `explain` can name the one."""

Content = dict[str, Any]

_cache: dict[tuple[str, int, int, int], Digest] = {}


def contents(manifest: Manifest) -> dict[str, Content]:
    """Model name -> digests of the code and data that its trace reads.

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
    """Digests of what one model's trace reads."""
    absent: list[tuple[str, str]] = []
    result: Content = {"source": {}, "goldens": {}, "files": {}}
    for part, given, file in (
        ("source", model.source, model.source.program),
        ("goldens", model.goldens, model.goldens.file),
    ):
        if given.entrypoint is not None:
            try:
                result[part] = entrypoint_content(given.entrypoint, model.source.search_path)
            except NoModule as error:
                absent.append((f"{part}.entrypoint", str(error)))
            result[part]["arguments"] = _arguments(dict(given.kwargs), model.source.search_path)
        elif file is not None:
            if Path(file).is_file():
                result[part] = {"file": file_digest(Path(file))}
            else:
                name = "program" if part == "source" else "file"
                absent.append((f"{part}.{name}", f"no file {file}; expected one there"))
    if model.replace:
        result["replace"] = {}
    for index, one in enumerate(model.replace):
        for own in _own_code(one):
            try:
                result["replace"][own] = entrypoint_content(own, model.source.search_path)
            except NoModule as error:
                absent.append((f"replace[{index}]", str(error)))
    for path in model.files:
        if path.exists():
            result["files"][path.name] = tree_digest(path) if path.is_dir() else file_digest(path)
        else:
            absent.append(("files", f"no file or folder {path}; expected one there"))
    for index, entrypoint in enumerate(model.plugins):
        try:
            found = entrypoint_content(entrypoint, model.source.search_path)
            result.setdefault("plugins", {})[entrypoint] = found
        except NoModule as error:
            absent.append((f"plugins[{index}]", str(error)))
    if absent:
        raise _Absent(*absent)
    return result


def _own_code(replacement: Replacement) -> Iterator[str]:
    """The entrypoints that a replacement imports."""
    if replacement.way != "plugin":
        yield replacement.by
    if replacement.kind == "function":
        yield replacement.pattern


def entrypoint_content(entrypoint: str, search_path: tuple[str, ...]) -> Content:
    """The code around `package.module:function`, found but not imported.

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
    result: Content = {"module": top}
    if spec.submodule_search_locations:
        trees = [Path(folder) for folder in spec.submodule_search_locations]
        result["package"] = [_listed(list(_walk(tree, tree))) for tree in trees]
    elif spec.origin is not None and Path(spec.origin).is_file():
        result["beside"] = _listed(list(_beside(Path(spec.origin))))
    else:
        result["origin"] = spec.origin  # built into the interpreter, whose version is included
    return result | {"local": local_content()}


def local_content() -> dict[str, Digest]:
    """Digest of each installation whose version does not determine its content: local or editable."""
    found: dict[str, Digest] = {}
    for name, location in local_installs().items():
        found[name] = location if isinstance(location, str) else tree_digest(location)
    return found


def tree_digest(folder: Path) -> Digest:
    """Digest of the relative names and contents of a folder's files, without those EXCLUDED."""
    return digest_json(dict(_walk(folder, folder)))


def file_digest(path: Path) -> Digest:
    """SHA-256 of a file. A file is read again only if it changed since this process read it."""
    state = path.stat()
    key = (str(path), state.st_size, state.st_mtime_ns, state.st_ino)
    if key not in _cache:
        _cache[key] = digest_file(path)
    return _cache[key]


def _listed(files: list[tuple[str, Digest]]) -> dict[str, Digest] | Digest:
    return dict(files) if len(files) <= LISTED else digest_json(dict(files))


def _beside(module: Path) -> Iterator[tuple[str, Digest]]:
    """For a plain module: the files and packages in its folder, which it may import."""
    folder = module.parent
    if folder.name in ("site-packages", "dist-packages") or folder == Path(os.__file__).parent:
        yield module.name, file_digest(module)
        return
    for entry in sorted(folder.iterdir()):
        if _excluded(entry) or entry.suffix in (".yaml", ".yml"):
            continue
        if entry.is_file():
            yield entry.name, file_digest(entry)
        elif entry.is_dir() and any(entry.glob("*.py")):
            yield from _walk(entry, folder)


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


def _arguments(value: Any, folders: tuple[str, ...], path: str = "") -> dict[str, Digest]:
    """Digest of each file or folder that a string among an entrypoint's arguments names."""
    found: dict[str, Digest] = {}
    if isinstance(value, dict):
        for key, item in value.items():
            found |= _arguments(item, folders, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found |= _arguments(item, folders, f"{path}[{index}]")
    elif isinstance(value, str) and value and len(value) < 1000 and "\0" not in value:
        for folder in (*map(Path, folders), Path.cwd()):
            named = folder / value
            if named.is_file():
                found[path] = file_digest(named)
            elif named.is_dir() and ("/" in value or os.sep in value):
                # A bare word may be a folder's name by chance; with a slash, it is meant as a path.
                found[path] = tree_digest(named)
            else:
                continue
            break
    return found
