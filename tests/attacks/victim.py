"""A store with one good bundle, and what an attacker can do to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import enginebundle
from enginebundle.format.digest import canonical_json, parse_json
from enginebundle.format.index import Index
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer


@dataclass
class Victim:
    """A store that holds tiny@1, validated, and the files that an attacker can reach."""

    store: Store
    index: Index

    @property
    def root(self) -> Path:
        return Path(self.store.uri)

    @property
    def record(self) -> Path:
        return self.root / "bundles/tiny/versions/1.json"

    def blob(self, digest: str) -> Path:
        return self.root / "blobs/sha256" / digest[7:9] / digest[7:]

    @property
    def signature(self) -> Path:
        return self.blob(parse_json(self.record.read_bytes())["signature"])

    def swap(self, **blobs: bytes) -> None:
        """Point the version's record at other blobs, stored properly."""
        record = parse_json(self.record.read_bytes())
        record |= {key: self.store.put_blob(data) for key, data in blobs.items()}
        self.record.write_bytes(canonical_json(record))

    def resign(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Publish a changed index, signed with the trusted key."""
        value = parse_json(self.index.to_bytes())
        raw = json.dumps(change(value), separators=(",", ":"), sort_keys=True).encode()
        self.swap(index=raw, signature=default_signer().sign(raw))

    def replace_blob(self, old: str, data: bytes) -> None:
        """Sign an index in which one blob replaces another."""
        digest = self.store.put_blob(data)

        def change(value: dict[str, Any]) -> Any:
            text = json.dumps(value).replace(old, digest)
            changed = json.loads(text)
            changed["blobs"][digest] = len(data)
            return changed

        self.resign(change)

    def load(self, name: str = "tiny@1") -> Any:
        """By number: an alias would be refused for the digest that it was signed for, before anything else."""
        session = enginebundle.load(f"{self.root}/{name}", allow_pending=True)
        return session(x=torch.ones(1, 3), mask=torch.ones(1, dtype=torch.bool))


def flip(path: Path, position: int = -10) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))
