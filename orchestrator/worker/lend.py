"""Lend the store to a step: it reads what builds are made of, and leaves blobs; nothing else.

The step runs a model's code, so what it may do here is little. A blob is stored under the digest that this
process computes. A record must be one that a step of its kind makes: an engine's under the digest of its own
identity, or the next timing cache. Versions, aliases, evidence, the results of tasks, runs and leases are
written by this process and the driver only.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import threading
from pathlib import Path
from typing import Any

from enginebundle.errors import BundleError, FormatError, IntegrityError, StoreError
from enginebundle.format.digest import PREFIX, digest_bytes, digest_json
from enginebundle.storage.base import safe
from enginebundle.storage.store import Store

_READ = ("blobs", "bundles", "results", "revoked", "timing")
_LINE = 1 << 16
RECORDS = {"build": ("engine", "engines", "blame"), "reproduce": ()}
"""For steps that build: what the identity of a record that they make says it is."""


class Lender:
    """Serves one step, in a thread of its own. `folder` is where the step leaves what is to be stored."""

    def __init__(self, store: Store, step: str, folder: Path) -> None:
        self._store, self._storage = store, store.storage
        self._records = RECORDS.get(step)
        self._inbox, self._outbox = folder / "in", folder / "out"
        self._inbox.mkdir(parents=True)
        self._outbox.mkdir()
        self._ours, self.theirs = socket.socketpair()
        self._served = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def inbox(self) -> Path:
        """Where the step leaves files."""
        return self._inbox

    def start(self) -> None:
        """The child has its end: close ours, and serve."""
        self.theirs.close()
        self._thread.start()

    def finish(self) -> None:
        """Stop serving, also if a process that escaped still holds the other end."""
        with self._ours:
            self._ours.shutdown(socket.SHUT_RD)
            self._thread.join()

    def _serve(self) -> None:
        with self._ours.makefile("rb") as lines:
            while line := lines.readline(_LINE):
                try:
                    answer = {"value": self._carry_out(json.loads(line))}
                except (BundleError, OSError) as error:
                    answer = {"error": type(error).__name__, "message": str(error)}
                except (ValueError, KeyError, TypeError) as error:
                    answer = {"error": "StoreError", "message": f"no request: {error!r}"}
                try:
                    self._ours.sendall(json.dumps(answer).encode() + b"\n")
                except OSError:
                    return  # The step is gone.

    def _carry_out(self, request: dict[str, Any]) -> Any:
        path = safe(request["path"])
        kind = path.split("/")[0]
        if kind not in (*_READ, "damaged"):
            raise StoreError(f"a step can't use {path}")
        match request["do"]:
            case "get":
                return self._file(path)
            case "size":
                return self._storage.size(path)
            case "files":
                return self._storage.files(path)
            case "children":
                return self._storage.children(path)
            case "touch":
                return self._storage.touch(path) if kind == "blobs" else None
            case "remove":
                # A step may find a blob damaged; whether it is, is for us to see. That sets it aside.
                return self._sound(path) and None
            case "put" | "create":
                return self._take(request, path, kind)
        raise StoreError(f"a step can't {request['do']!r}")

    def _take(self, request: dict[str, Any], path: str, kind: str) -> Any:
        file = self._inbox / safe(request["file"])
        data = _content(file)
        if kind == "damaged":
            return None
        if kind == "blobs":
            if path != _blob_path(digest_bytes(data)):
                raise IntegrityError(f"{path} is not the digest of the content that a step left")
            return self._storage.put(path, data)
        if not self._allowed(path, kind, data):
            raise StoreError(f"a step can't write {path}")
        if request["do"] == "put":
            return self._storage.put(path, data)
        return self._hand(self._storage.create(path, bytes(data)))

    def _allowed(self, path: str, kind: str, data: memoryview) -> bool:
        """Whether a step of this kind may write this record."""
        if self._records is None:
            return False
        if kind != "results":
            return kind == "timing"
        record = json.loads(bytes(data))
        key = digest_json(record["identity"]).removeprefix(PREFIX)
        return (
            path == f"results/{key[:2]}/{key}.json" and record["identity"]["step"] in self._records
        )

    def _file(self, path: str) -> str | None:
        """A file on this machine with that content."""
        local = self._storage.local(path)
        if local is not None:
            return str(local) if local.is_file() else None
        if path.startswith("blobs/"):
            if self._storage.size(path) is None:
                return None
            return str(self._store.blob_path(PREFIX + path.rpartition("/")[2]))
        data = self._storage.get(path)
        return None if data is None else self._hand(data)

    def _hand(self, data: bytes) -> str:
        self._served += 1
        file = self._outbox / str(self._served)
        file.write_bytes(data)
        return str(file)

    def _sound(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        if path != _blob_path(PREFIX + name):
            raise FormatError(f"a step can't remove {path}")
        return self._store.check_blob(PREFIX + name)


def _content(file: Path) -> memoryview:
    """What a step left in the file, which goes. Mapped, not read: weights may be larger than our memory."""
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        size = os.fstat(handle).st_size
        return memoryview(mmap.mmap(handle, size, access=mmap.ACCESS_READ) if size else b"")
    finally:
        os.close(handle)
        file.unlink()


def _blob_path(digest: str) -> str:
    name = digest.removeprefix(PREFIX)
    return f"blobs/sha256/{name[:2]}/{name}"
