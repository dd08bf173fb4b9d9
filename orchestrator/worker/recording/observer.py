"""What a step read, in absolute paths, each as it was when the step first saw it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from enginebundle.format.digest import Digest
from orchestrator.plan.inputs import now
from orchestrator.plan.inputs.places import OWN

MARK = "/dev/null/kiln/"
"""Under it lies no file: looking at `MARK/<word>/<rest>` is how the step tells what the kernel does not see."""
HARMLESS: Mapping[str, str] = {
    "ldconfig": "tells which shared libraries the system has (ctypes.util.find_library)",
    "uname": "tells the kind of machine (platform.processor)",
    "nvidia-modprobe": "makes the GPU's device files, which CUDA asks for when it starts",
}
"""Programs that a step may start, each with the reason. The files that they open are seen."""
SERVICES: Mapping[str, str] = {
    "/run/nscd/": "the names of users and groups, as in /etc/passwd",
    "/var/run/nscd/": "the same",
    "/var/lib/sss/pipes/": "the same",
    "/run/systemd/userdb/": "the same",
    "/run/nvidia-persistenced/": "the GPU's driver",
    "/var/run/nvidia-persistenced/": "the same",
    f"{os.environ.get('CUDA_MPS_PIPE_DIRECTORY', '/tmp/nvidia-mps')}/": "CUDA asks there whether to share the GPU",
}
"""Folders of sockets of the system's own that a step may connect to, each with what answers. None tells
anything that a model could depend on."""
_UNSEEN = ("/proc/", "/sys/", "/dev/")
_SHARED, _SEMAPHORES = "/dev/shm/", "/dev/shm/sem."
"""Shared memory has files like others. What a process makes there itself has a name that is new each time."""

Seen = tuple[int, int, int, int]
"""Size, time of change in ns (content, then attributes), inode."""


@dataclass
class Record:
    """`opened`: files read. `looked`: what `stat` or `access` found. `listed`: digests of folders'
    names. `links`: targets. `contents`: digests of files that the step itself wrote to later.
    `written`: what it wrote, made, moved or removed. `imports`: by folder and module, the file that
    the import system found. `unrecorded`: what nobody can see into; `refused`, whether it was stopped.
    """

    opened: dict[str, Seen] = field(default_factory=dict)
    looked: dict[str, str] = field(default_factory=dict)
    listed: dict[str, Digest] = field(default_factory=dict)
    links: dict[str, str | None] = field(default_factory=dict)
    contents: dict[str, Digest] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    imports: dict[str, dict[str, str | None]] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)
    distributions: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    refused: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Record:
        return cls(**{**value, "opened": {k: tuple(v) for k, v in value["opened"].items()}})


class Observer:
    """Collects a Record from a listener's or an audit hook's calls.

    Nothing under the folders `apart` counts: the store, and the step's own temporary folder.
    `refuses`: programs and connections are stopped, not just noted.
    """

    def __init__(self, apart: Collection[str], refuses: bool) -> None:
        self.record = Record(refused=refuses)
        self.on = False
        self._apart = tuple(f"{folder.rstrip('/')}/" for folder in apart)
        self._written: dict[str, None] = {}
        self._made: set[str] = set()
        self._searching: set[int] = set()

    def finish(self) -> Record:
        """Everything so far."""
        self.record.written = list(self._written)
        self.record.distributions = sorted(set(self.record.distributions))
        self.record.unrecorded = list(dict.fromkeys(self.record.unrecorded))
        return self.record

    def open(self, path: str, flags: int, thread: int) -> bool:
        if (path := self._counts(path, thread)) == "":
            return True
        reads = flags & os.O_ACCMODE != os.O_WRONLY and not flags & os.O_TRUNC
        if reads and not flags & os.O_PATH:
            if stat.S_ISFIFO(_mode(path)):
                return self._unrecorded(f"pipe {path}")
            self._read(path)
        elif flags & os.O_PATH or flags & os.O_EXCL:
            self._look(path, makes=bool(flags & os.O_EXCL))
        if flags & os.O_ACCMODE != os.O_RDONLY or flags & (os.O_TRUNC | os.O_CREAT):
            self._write(path)
        return True

    def look(self, path: str, thread: int) -> None:
        if path.startswith(MARK):
            word, _, rest = path.removeprefix(MARK).partition("/")
            self.tell(word, rest, thread)
        elif path := self._counts(path, thread):
            self._look(path)

    def link(self, path: str, thread: int) -> None:
        if (path := self._counts(path, thread)) and path not in self.record.links:
            self.record.links[path] = now.link(Path(path))

    def write(self, path: str) -> None:
        if path := self._counts(path, 0):
            if not os.path.lexists(path):
                self._look(path, makes=True)
                self._made.add(path + "/")
            self._write(path)

    def run(self, path: str, words: Sequence[str] = ()) -> bool:
        name = os.path.basename(path)
        if not self.on or name in HARMLESS or not os.access(path, os.X_OK) or _ours(words):
            return True
        return self._unrecorded(f"subprocess {path}")

    def connect(self, address: str) -> bool:
        place = os.path.normpath(address.removeprefix("socket "))
        if not self.on or place.startswith(tuple(SERVICES)):
            return True
        return self._unrecorded(address)

    def tell(self, word: str, rest: str, thread: int) -> None:
        """Something that only the step itself knows; `rest` is what hooks.py sends with the word."""
        if word in ("begin", "end"):
            self.on = word == "begin"
        elif word == "apart":
            self._apart = (*self._apart, f"{rest.rstrip('/')}/")
        elif word == "searching":
            self._searching.add(thread)
        elif word == "searched":
            self._searching.discard(thread)
        elif not self.on:
            return
        elif word == "import":
            module, found, folder = rest.split("/", 2)
            known = self.record.imports.setdefault("/" + folder.strip("/"), {})
            known.setdefault(module, found.replace("\\", "/") or None)
        elif word == "variable":
            name, _, value = rest.partition("/")
            self.record.variables.setdefault(name, value or None)
        elif word == "distribution":
            self.record.distributions.append(rest)
        elif word == "unrecorded":
            self._unrecorded(rest)

    def _unrecorded(self, what: str) -> bool:
        self.record.unrecorded.append(what)
        return not self.record.refused

    def _counts(self, path: str, thread: int) -> str:
        """The path in plain form; empty if nothing of it is to be recorded."""
        if not self.on or thread in self._searching or not path.startswith("/"):
            return ""
        if path.startswith(self._apart) or _unseen(path):
            return ""
        path = _plain(path)
        inside = path + "/"
        made = any(path.startswith(folder) for folder in self._made)
        return "" if made or inside.startswith(self._apart) or _unseen(inside) else path

    def _read(self, path: str) -> None:
        if path in self.record.opened or path in self._written:
            return
        found = state(path)
        if found is None:
            self._look(path)
        elif os.path.isdir(path):
            if path not in self.record.listed:
                self.record.listed[path] = now.listing(Path(path))
        else:
            self.record.opened[path] = found

    def _look(self, path: str, *, makes: bool = False) -> None:
        if makes and path.startswith(_SHARED):
            return
        if path not in self.record.looked and path not in self._written:
            self.record.looked[path] = now.look(Path(path))

    def _write(self, path: str) -> None:
        """Before a write of the step's own: keep what it has read."""
        if path in self.record.opened and path not in self._written:
            self.record.contents[path] = now.content(Path(path))
        self._written[path] = None


def _unseen(path: str) -> bool:
    if path.startswith(_SHARED):
        return path.startswith(_SEMAPHORES)
    return path.startswith(_UNSEEN)


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0


def _ours(words: Sequence[str]) -> bool:
    """Whether a command line runs a module of ours, whose digests are in the key, in Python."""
    module = words[words.index("-m") + 1 :][:1] if "-m" in words else []
    return any(one.split(".")[0] in OWN for one in module)


def _plain(path: str) -> str:
    """Without empty and `.` parts; `..` goes up from where a link leads to, as in the kernel."""
    if "/../" not in path and not path.endswith("/.."):
        return os.path.normpath(path).replace("//", "/")
    head, _, rest = path.rpartition("/..")
    return os.path.normpath(os.path.join(os.path.realpath(head + "/.."), rest.strip("/")))


def state(path: str) -> Seen | None:
    """What changes when a file does; None if there is no such file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
