"""Files in an object store. One file is one object, and a write becomes visible as a whole.

Who comes first is decided by the server: a write with `If-None-Match: *` or `If-Match` (on Google Cloud,
with a generation) is carried out or refused. The first conditional write that a server carries out for a
process is repeated, and must be refused then: a server that overlooks conditions would lose data.
"""

from __future__ import annotations

import io
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from enginebundle.errors import StoreError, UnreadableError
from enginebundle.storage.address import client
from enginebundle.storage.base import Entry, safe

T = TypeVar("T")
PATIENCE = 15.0
"""Seconds after which nothing is tried again. With the limits of `storage.address`, a store that does not
answer is an error within 30 s, and one that answers ever so slowly within 90 s."""
_RECENT = 3600.0
"""Seconds within which an object counts as just written."""
_PIECE = 32 << 20
_PART = 5 << 20
"""Bytes: larger objects are read in such pieces, and written in such parts, two at a time, so that a line of
8 Mbit/s gets a part through before its silence counts."""


class RemoteStorage:
    """Files below the prefix of `uri`. `storage.base.Storage` documents the methods."""

    def __init__(self, uri: str) -> None:
        import obstore
        from obstore import exceptions

        self.uri = uri
        self._client = client(uri)
        self._library: Any = obstore
        self._errors: Any = exceptions
        self._proved = False

    def get(self, path: str, limit: int | None = None) -> bytes | None:
        return self._ask("read", path, lambda: self._read(safe(path), limit))[0]

    def put(self, path: str, data: bytes | memoryview) -> None:
        def once() -> bool:
            self._library.put(self._client, safe(path), data, chunk_size=_PART, max_concurrency=2)
            return True

        self._ask("write", path, once)

    def create(self, path: str, data: bytes) -> bytes:
        def once() -> bytes | None:
            if not self._write_if(safe(path), data, "create"):
                # It may be ours: an answer that was lost leaves a write behind.
                return self._read(path)[0]
            if not self._proved and self._write_if(path, data, "create"):
                raise StoreError(
                    f"store {self.uri}: the server overlooks If-None-Match, so writers would overwrite each "
                    "other. Use one with conditional writes, as S3, Google Cloud Storage and MinIO have them"
                )
            self._proved = True
            return data

        return self._ask("write", path, once)

    def replace(self, path: str, old: bytes, data: bytes) -> bool:
        def once() -> bool | None:
            found, about = self._read(safe(path))
            if found != old:
                return found == data
            version = {k: about[k] for k in ("e_tag", "version") if about[k] is not None}
            return self._write_if(path, data, version) or None

        return self._ask("write", path, once)

    def size(self, path: str) -> int | None:
        about = self._ask("read", path, lambda: self._head(safe(path)))
        return int(about["size"]) if about else None

    def files(self, folder: str) -> list[str]:
        return [entry.path for entry in self.entries(folder)]

    def children(self, folder: str) -> list[str]:
        def once() -> list[str]:
            found = self._library.list_with_delimiter(self._client, safe(folder))
            return [*found["common_prefixes"], *(one["path"] for one in found["objects"])]

        paths = self._ask("list", folder, once)
        return sorted(path[len(folder) + 1 :] for path in paths if path.startswith(f"{folder}/"))

    def entries(self, folder: str) -> list[Entry]:
        def once() -> Any:
            return self._library.list(self._client, safe(folder), chunk_size=1000).collect()

        found = [
            Entry(about["path"], about["size"], about["last_modified"].timestamp())
            for about in self._ask("list", folder, once)
            if about["path"].startswith(
                f"{folder}/"
            )  # the folder itself, where a tool made it an object
        ]
        return sorted(found, key=lambda entry: entry.path)

    def remove(self, path: str) -> None:
        def once() -> bool:
            try:
                self._library.delete(self._client, safe(path))
            except FileNotFoundError as error:
                self._bucket(error)
            return True

        self._ask("remove", path, once)

    def touch(self, path: str) -> None:
        """An object is as old as its content: it is written again, unless that was done within the hour."""
        about = self._ask("read", path, lambda: self._head(safe(path)))
        if about and time.time() - about["last_modified"].timestamp() > _RECENT:
            data = self.get(path)
            if data is not None:
                self.put(path, data)

    def local(self, path: str) -> Path | None:
        return None

    def _read(self, path: str, limit: int | None = None) -> tuple[bytes | None, Any]:
        """An object's content and description; (None, {}) if there is none."""
        try:
            found = self._library.get(self._client, path)
            about = found.meta
            if limit is not None and about["size"] > limit:
                raise UnreadableError(
                    f"store {self.uri}: can't read {path}: it has {about['size']} bytes, expected at most {limit}"
                )
            if about["size"] <= _PIECE:
                return bytes(found.bytes()), about
            content = io.BytesIO()
            for start in range(0, about["size"], _PIECE):
                end = min(start + _PIECE, about["size"])
                same = {"range": (start, end), "if_match": about["e_tag"]}
                content.write(self._library.get(self._client, path, options=same).bytes())
            return content.getvalue(), about
        except FileNotFoundError as error:
            self._bucket(error)
            return None, {}

    def _head(self, path: str) -> Any:
        try:
            return self._library.head(self._client, path)
        except FileNotFoundError:
            return {}

    def _write_if(self, path: str, data: bytes, condition: Any) -> bool:
        """Write if the object is still absent, or the one described. False if the server refuses that."""
        try:
            self._library.put(self._client, path, data, mode=condition, use_multipart=False)
        except (self._errors.AlreadyExistsError, self._errors.PreconditionError):
            return False
        return True

    def _bucket(self, error: FileNotFoundError) -> None:
        """An object may be absent; its bucket may not."""
        if re.search(r"NoSuchBucket|bucket does not exist", str(error)):
            raise error

    def _ask(self, verb: str, path: str, once: Callable[[], T | None]) -> T:
        """What `once` returns. It is called again while it returns None or fails in a way that may pass."""
        end = time.monotonic() + PATIENCE
        while True:
            error: Exception | None = None
            try:
                if (result := once()) is not None:
                    return result
            except self._errors.PreconditionError as found:
                error = found  # it changed between two pieces of it
            except self._errors.GenericError as found:
                error = found
                if re.search(r"status code: [34]\d\d", str(found)):
                    raise self._refusal(verb, path, _plain(found)) from found
            except (self._errors.BaseError, OSError, ValueError) as found:
                raise self._refusal(verb, path, _plain(found)) from found
            if time.monotonic() > end:
                why = _plain(error) if error else "others keep changing it"
                raise self._refusal(verb, path, why) from error
            time.sleep(random.uniform(0.05, 0.5))

    def _refusal(self, verb: str, path: str, why: str) -> StoreError:
        return StoreError(
            f"store {self.uri}: can't {verb} {path}: {why}. "
            "Check the bucket, its region or endpoint_override, and the credentials"
        )


def _plain(error: Exception) -> str:
    """What the server said, or what kept it from saying anything, in one line."""
    text = str(error)
    said = [re.search(rf"<{tag}>([^<]*)</{tag}>", text) for tag in ("Code", "Message")]
    if words := [found[1] for found in said if found is not None]:
        return ": ".join(words).rstrip(".")
    if re.search("/latest/(api/token|meta-data)", text):
        return "no credentials are set, and this machine gives none"
    status = re.search(r"status code: (\d{3}[A-Za-z ]*)", text)
    if status:
        return f"the server answers {status[1].strip()}"
    kind = re.search(r"kind: (Timeout|Connect|Request|Body|Interrupted)\b", text)
    if kind and kind[1] in ("Timeout", "Connect"):
        return {"Timeout": "no answer in time", "Connect": "no connection"}[kind[1]]
    return (text.partition("\nDebug source")[0].splitlines() or [type(error).__name__])[0]
