"""In a step: the store, lent by the process that watches it (lend.py). The step has no credentials of its own.

A request and its answer are each a line of JSON through a socket. Content never is: files are read where
they lie on this machine, and what is to be stored is left in a folder, from where the other side takes
it once it has checked it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

from enginebundle import errors
from enginebundle.storage.base import Entry
from enginebundle.storage.reading import read_file
from enginebundle.storage.store import Store

SOCKET = "KILN_STEP_STORE"
"""The environment variable that has the socket's number and the folder, with a colon between."""


def opened(uri: str) -> Store:
    """The store at `uri`: the lent one where there is one."""
    lent = os.environ.get(SOCKET)
    if lent is None:
        return Store.open(uri)
    number, _, folder = lent.partition(":")
    return Store(uri, LentStorage(int(number), Path(folder)))


class LentStorage:
    """Asks for every file. `storage.base.Storage` documents the methods."""

    def __init__(self, number: int, folder: Path) -> None:
        self._socket = socket.socket(fileno=os.dup(number))
        self._lines = self._socket.makefile("rb")
        self._folder = folder
        self._count = 0
        self._lock = threading.Lock()

    def get(self, path: str, limit: int | None = None) -> bytes | None:
        found = self._ask("get", path)
        return None if found is None else read_file(Path(found), limit)

    def put(self, path: str, data: bytes | memoryview) -> None:
        self._ask("put", path, data)

    def create(self, path: str, data: bytes) -> bytes:
        return Path(self._ask("create", path, data)).read_bytes()

    def replace(self, path: str, old: bytes, data: bytes) -> bool:
        raise errors.StoreError("a step can't replace what is stored")

    def size(self, path: str) -> int | None:
        found: int | None = self._ask("size", path)
        return found

    def files(self, folder: str) -> list[str]:
        return list(self._ask("files", folder))

    def children(self, folder: str) -> list[str]:
        return list(self._ask("children", folder))

    def entries(self, folder: str) -> list[Entry]:
        raise errors.StoreError("a step can't list what is stored when")

    def remove(self, path: str) -> None:
        self._ask("remove", path)

    def touch(self, path: str) -> None:
        self._ask("touch", path)

    def local(self, path: str) -> Path | None:
        found = self._ask("get", path)
        return self._folder / "absent" if found is None else Path(found)

    def _ask(self, what: str, path: str, data: bytes | memoryview | None = None) -> Any:
        with self._lock:
            self._count += 1
            request: dict[str, Any] = {"do": what, "path": path}
            if data is not None:
                file = self._folder / f"{os.getpid()}-{self._count}"
                file.write_bytes(data)
                request["file"] = file.name
            try:
                self._socket.sendall(json.dumps(request).encode() + b"\n")
                line = self._lines.readline()
            except OSError as error:
                raise errors.StoreError(f"the step's store is out of reach: {error}") from error
        if not line:
            raise errors.StoreError("the process that lends the store is gone")
        answer = json.loads(line)
        if "error" in answer:
            raise getattr(errors, answer["error"], errors.StoreError)(answer["message"])
        return answer["value"]
