"""Puts the files that go with a bundle into the store, as they were when the run was planned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from enginebundle.errors import StoreError
from enginebundle.format.digest import Digest, digest_bytes
from enginebundle.storage.store import Store


def attach(
    store: Store, digests: Mapping[str, Digest], paths: Mapping[str, str]
) -> dict[str, tuple[Digest, int]]:
    """Put each file into the store: its blob and size by name. StoreError if one is not what was planned."""
    found = {}
    for name, digest in digests.items():
        try:
            data = Path(paths[name]).read_bytes()
        except OSError as error:
            raise StoreError(f"attachment {name!r}: {error}") from error
        if digest_bytes(data) != digest:
            raise StoreError(
                f"attachment {name!r}: {paths[name]} changed since this was planned; run again"
            )
        found[name] = store.put_blob(data), len(data)
    return found
