"""Names for paths that hold wherever the folders lie: `./zoo.py`, `<PYTHONPATH 0>/shared/a.py`, `~/w.pt`.

A name starts with the innermost of these folders; any other path is its own name.

    .                 the manifest's folder
    <PYTHONPATH n>    the n-th entry of that variable
    <editable NAME>   the folder of an editable installation
    <site-packages n> where distributions are installed
    <kiln>            the folder of our own packages
    ~                 the user's home
"""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.plan.local_installs import local_installs

LIBRARY = str(Path(__file__).resolve().parents[3])
OWN = ("compiler", "enginebundle", "orchestrator")

EXCLUDED: Mapping[str, str] = {
    "/proc /sys /dev /run": "what the kernel tells of the machine",
    "/bin /lib /lib32 /lib64 /sbin /usr/bin /usr/lib /usr/lib32 /usr/lib64 /usr/sbin /usr/libexec": "the "
    "system's programs and libraries: the image of the machine, as its driver is",
    "/usr/share/locale /usr/share/zoneinfo /usr/share/mime /usr/share/misc": "the system's",
    "/etc/ld.so.cache /etc/ld.so.preload /etc/passwd /etc/group /etc/nsswitch.conf /etc/hosts /etc/host.conf "
    "/etc/resolv.conf /etc/gai.conf /etc/services /etc/protocols /etc/localtime /etc/timezone /etc/mime.types "
    "/etc/os-release /etc/lsb-release /etc/debian_version /etc/machine-id /etc/hostname /etc/ssl": "the system's",
}
"""Files and folders that are no input, each with the reason. Python's own library is none either (its
version is in the key), nor are our packages (their digests are) and installed distributions (their
names and versions are)."""

INCLUDED = ("/dev/shm", "/run/media", "/run/user")
"""Folders in these that hold files of users all the same: in memory, and on disks that were put in."""

_SYSTEM = tuple(path for paths in EXCLUDED for path in paths.split())


class Places:
    """Names and paths on this machine, for a step whose manifest lies in `search_path`'s first folder."""

    def __init__(self, search_path: Sequence[str], pythonpath: str) -> None:
        roots: dict[str, str | None] = dict.fromkeys((*_SYSTEM, *_python()))
        roots |= {folder: folder for folder in INCLUDED}
        for name, folder in (*_installed_roots(), *_path_roots(pythonpath)):
            roots[folder] = name
        for index, folder in enumerate(search_path):
            roots[os.path.abspath(folder)] = "." if index == 0 else f"<search path {index}>"
        self._roots = sorted(roots.items(), key=lambda root: -len(root[0]))
        self._folders = {name: folder for folder, name in roots.items() if name is not None}
        self.above = frozenset(str(p) for f in self._folders.values() for p in Path(f).parents)
        """Folders that are there because those that names start with are."""

    def name(self, path: str) -> str | None:
        """The path's name; None if it is EXCLUDED."""
        for folder, name in self._roots:
            if path == folder or path.startswith(folder + "/"):
                rest = path[len(folder) + 1 :]
                if name is None or (folder == LIBRARY and rest.split("/")[0] in OWN):
                    return None
                return f"{name}/{rest}" if rest else name
        return path

    def path(self, name: str) -> Path:
        """Where the file of a name is here. What can't be here lies in a folder that does not exist."""
        first, _, rest = name.partition("/")
        if not first:
            return Path(name)
        folder = self._folders.get(first, "/dev/null")
        return Path(folder, rest) if rest else Path(folder)


def places_of(spec: Mapping[str, Any]) -> Places:
    """The places for a task with this spec."""
    owner = spec.get("source", spec if "search_path" in spec else spec.get("plugins", {}))
    search_path = owner.get("search_path", ())
    return _places(tuple(search_path), os.environ.get("PYTHONPATH", ""))


@functools.lru_cache(1000)
def _places(search_path: tuple[str, ...], pythonpath: str) -> Places:
    return Places(search_path, pythonpath)


@functools.cache
def sites() -> tuple[str, ...]:
    """The folders in which distributions are installed, as imports find them."""
    named = ("site-packages", "dist-packages")
    return tuple(dict.fromkeys(p for p in sys.path if os.path.basename(p) in named))


@functools.cache
def _installed_roots() -> tuple[tuple[str, str], ...]:
    """(name, folder), those that count less first."""
    roots = [("~", os.path.expanduser("~")), ("<kiln>", LIBRARY)]
    roots += [(f"<site-packages {n}>", site) for n, site in enumerate(sites())]
    editable = sorted((n, p) for n, p in local_installs().items() if isinstance(p, Path))
    roots += [(f"<editable {name}>", str(folder)) for name, folder in editable]
    return tuple((name, folder) for name, folder in roots if folder != "/")


@functools.cache
def _path_roots(path: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"<PYTHONPATH {n}>", folder) for n, folder in enumerate(path_entries(path)))


def path_entries(path: str) -> list[str]:
    """The entries of a PYTHONPATH, without our own folder, which a step has there."""
    entries = [os.path.abspath(entry) for entry in path.split(os.pathsep)] if path else []
    return [entry for entry in entries if entry != LIBRARY]


@functools.cache
def _python() -> tuple[str, ...]:
    """Python's own library, as a folder, links resolved and not, and as an archive."""
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    zips = {p for p in sys.path if p.endswith(".zip") and os.path.basename(p).startswith("python")}
    starts = {sys.prefix, sys.base_prefix, sys.exec_prefix}
    inside = {f"{start}/{name}" for start in starts for name in ("pyvenv.cfg", "bin")}
    return tuple({os.path.realpath(f) for f in folders} | folders | zips | inside)
