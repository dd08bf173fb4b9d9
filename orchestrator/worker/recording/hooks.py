"""In the step's process: tells what the kernel does not see.

Environment variables are a dictionary, so the reads of it are told here. An import looks at many files
to find one, so its question and answer are told instead of its looks: a file put beside a module
changes nothing unless an import would now find it. The same goes for asking which distributions are
installed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import posix
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from orchestrator.plan.inputs import now

Tell = Callable[..., None]
"""Tells a word and what belongs to it."""

_LIBRARY = str(Path(__file__).resolve().parents[3])
_OURS = tuple(f"{_LIBRARY}/{name}/" for name in ("compiler", "enginebundle", "orchestrator"))
_PYTHON = tuple({f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib")})
STEPS_OWN: Mapping[str, str] = {
    "KILN_STEP_FOLDER": "the step's own folder",
    "KILN_STEP_STORE": "the store that is lent to the step",
    "PWD": "the step's own folder",
    "TMPDIR": "the step's own folder",
    "PYTHONPATH": "paths; what is found under them is recorded",
    "CUDA_VISIBLE_DEVICES": "set by the worker: a step without a GPU sees none",
    "OMP_NUM_THREADS": "set by the worker: how fast, not what",
    "MKL_NUM_THREADS": "set by the worker: how fast, not what",
    "OPENBLAS_NUM_THREADS": "set by the worker: how fast, not what",
}
"""Variables that are no input whoever reads them, each with the reason."""
MACHINES_OWN: Mapping[str, str] = {
    **STEPS_OWN,
    "HOME": "a path; what is read under it is recorded",
    "PATH": "paths; programs that are started are noted",
    "TEMP": "a path",
    "TMP": "a path",
    "USER": "who ran it",
    "LOGNAME": "who ran it",
    "USERNAME": "who ran it",
    "LNAME": "who ran it",
    "HOSTNAME": "where it ran",
    "TERM": "how a terminal shows it",
    "COLUMNS": "how a terminal shows it",
    "LINES": "how a terminal shows it",
    "NO_COLOR": "how a terminal shows it",
    "FORCE_COLOR": "how a terminal shows it",
    "LANG": "how messages are spelled",
    "LANGUAGE": "how messages are spelled",
    "LC_ALL": "how messages are spelled",
    "LC_MESSAGES": "how messages are spelled",
    "LD_LIBRARY_PATH": "paths; the libraries that are opened are recorded",
    "XDG_CACHE_HOME": "a path; what is read under it is recorded",
    "XDG_CONFIG_HOME": "a path; what is read under it is recorded",
    "XDG_DATA_HOME": "a path; what is read under it is recorded",
}
"""Variables that are no input when a library reads them for itself; the user's own reads count."""

_OF_THE_KERNEL = re.compile(r"/proc/[^/]+(/task/[^/]+)?/environ")
_PASSING = (__name__, "os", "collections.abc")
_INSTALLED = ("/site-packages/", "/dist-packages/")


def users(file: str) -> bool:
    """Whether a source file is the user's: not Python's, not ours, not of an installed distribution."""
    if not file.startswith("/") or any(part in file for part in _INSTALLED):
        return False
    return not file.startswith((*_OURS, *_PYTHON))


def _pythons(file: str) -> bool:
    return not file.startswith("/") or (
        file.startswith(_PYTHON) and not any(part in file for part in _INSTALLED)
    )


def install(tell: Tell) -> None:
    """Begin to tell. Modules that were imported before are not searched again."""
    _watch_environment(tell)
    _watch_imports(tell)
    _watch_distributions(tell)
    _compile_users_sources()
    importlib.invalidate_caches()


@contextmanager
def _searching(tell: Tell) -> Iterator[None]:
    tell("searching")
    try:
        yield
    finally:
        tell("searched")


def _caller() -> FrameType | None:
    """The frame that asked for a variable, behind those that only pass the question on."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") in _PASSING:
        frame = frame.f_back
    return frame


def _watch_environment(tell: Tell) -> None:
    kind: Any = type(os.environ)
    at_start = dict(os.environ)
    get, iterate = kind.__getitem__, kind.__iter__
    whole: set[CodeType] = set()
    told: set[tuple[str, bool]] = set()

    def read(self: Any, key: Any) -> Any:
        name = os.fsdecode(key) if isinstance(key, str | bytes) else ""
        frame = _caller()
        if name and frame is not None and frame.f_code not in whole:
            own = users(frame.f_code.co_filename)
            # What the step itself has set is no input.
            if (name, own) not in told and os.environ._data.get(os.fsencode(name)) == (  # type: ignore[attr-defined]
                os.fsencode(at_start[name]) if name in at_start else None
            ):
                told.add((name, own))
                if name not in (STEPS_OWN if own else MACHINES_OWN):
                    tell("variable", name, now.variable(at_start.get(name)) or "")
        return get(self, key)

    def read_all(self: Any) -> Iterator[Any]:
        frame = _caller()
        if frame is not None:
            whole.add(frame.f_code)
            if users(frame.f_code.co_filename):
                tell("unrecorded", "the whole environment")
        return iterate(self)  # type: ignore[no-any-return]

    kind.__getitem__, kind.__iter__ = read, read_all
    # The same variables, under the name by which the C library's are known: a plain dictionary till now.
    posix.environ = os.environb  # type: ignore[assignment]

    def opened(event: str, details: tuple[Any, ...]) -> None:
        # Only Python's: torch's own libraries read there as well, as they read other variables natively.
        path = details[0] if event == "open" else None
        if isinstance(path, str) and _OF_THE_KERNEL.fullmatch(path) and _asked_by_user():
            tell("unrecorded", "the whole environment")

    sys.addaudithook(opened)


def _watch_imports(tell: Tell) -> None:
    find = FileFinder.find_spec

    def find_spec(self: FileFinder, fullname: str, target: Any = None) -> ModuleSpec | None:
        with _searching(tell):
            found = find(self, fullname, target)
        module = fullname.rpartition(".")[2]
        tell("import", module, _found(self.path, module, found), self.path)
        return found

    FileFinder.find_spec = find_spec  # type: ignore[method-assign,assignment]


def _found(folder: str, module: str, spec: ModuleSpec | None) -> str:
    """Where the module was found, as `now.module` tells it, with \\ for /; empty if nowhere."""
    if spec is None:
        return ""
    if spec.origin is None or spec.loader is None:
        return f"{module}\\"
    return spec.origin.removeprefix(folder.rstrip("/") + "/").replace("/", "\\")


def _watch_distributions(tell: Tell) -> None:
    place: Any = importlib.metadata.FastPath  # type: ignore[attr-defined]
    search = place.search

    def told(self: Any, prepared: Any) -> Any:
        name = prepared.normalized
        with _searching(tell):
            found = list(search(self, prepared))
        if name:
            tell("distribution", name.replace("_", "-"))
        elif _asked_by_user():
            tell("distribution", "*")
        return found

    place.search = told


def _asked_by_user() -> bool:
    """Whether the innermost code that is not Python's own is the user's."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if not _pythons(file):
            return users(file)
        frame = frame.f_back
    return False


def _compile_users_sources() -> None:
    """Compile the user's sources anew: a .pyc counts as fresh by its source's size and second."""
    cached = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        if not users(path):
            return cached(self, fullname)
        return self.source_to_code(self.get_data(path), path)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign,assignment]
