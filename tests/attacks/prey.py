"""The good bundle that random attacks change, and the ways to put something else in its place."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enginebundle.format.digest import canonical_json, digest_bytes, parse_json
from enginebundle.format.signing import Signer
from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from tests.attacks import mutate
from tests.enginebundle.examples import CPU, publish


@dataclass
class Prey:
    """The good bundle, and the ways to put something else in its place."""

    root: Path
    home: Path
    good: Path
    other: Signer = field(default_factory=Signer.generate)
    """A key that is trusted for little, or not at all."""

    @classmethod
    def made(cls, folder: Path) -> Prey:
        os.environ["ENGINEBUNDLE_HOME"] = str(folder / "home")
        store = Store.open(folder / "good", create=True)
        version = publish(store)
        validate_and_sign(store, version, CPU)
        shutil.copytree(folder / "home", folder / "good.home")
        prey = cls(folder / "store", folder / "home", folder / "good")
        prey.fresh()
        return prey

    def fresh(self) -> None:
        for place, good in ((self.root, self.good), (self.home, self.good.with_name("good.home"))):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(good, place)

    @property
    def record(self) -> Path:
        return self.root / "bundles/tiny/versions/1.json"

    def file(self, kind: str) -> Path:
        (found,) = self.root.glob(f"bundles/tiny/{kind}/*/torch-cpu/*.json")
        return found

    def blob(self, digest: str) -> Path:
        return self.root / "blobs/sha256" / digest[7:9] / digest[7:]

    def put(self, content: bytes) -> str:
        digest = digest_bytes(content)
        self.blob(digest).parent.mkdir(parents=True, exist_ok=True)
        self.blob(digest).write_bytes(content)
        return digest

    def read(self, record: Path, key: str) -> tuple[str, bytes]:
        digest = parse_json(record.read_bytes())[key]
        return digest, self.blob(digest).read_bytes()

    def change(self, record: Path, **content: bytes) -> None:
        value = parse_json(record.read_bytes())
        record.write_bytes(canonical_json(value | {k: self.put(v) for k, v in content.items()}))

    def sign(self, record: Path, key: str, content: bytes, signer: Signer | None = None) -> None:
        signature = (signer or default_signer()).sign(content)
        self.change(record, **{key: content, "signature": signature})

    def write(
        self, record: Path, key: str, content: bytes, signer: Signer | None, **more: Any
    ) -> None:
        """A record that holds a document and its signature as text; without a signer, the signature of another."""
        signature = (signer or default_signer()).sign(content if signer else b"another").decode()
        value = {**more, key: content.decode(errors="replace"), "signature": signature}
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_bytes(mutate.text(value))

    def trust_other(self, lines: str) -> None:
        (self.home / "trusted/other.pub").write_text(self.other.public_line() + lines)

    def swap(self, old: str, content: bytes) -> None:
        """Sign an index in which other content has the place of a blob."""
        _, index = self.read(self.record, "index")
        value = json.loads(index.replace(old.encode(), self.put(content).encode()))
        value["blobs"][digest_bytes(content)] = len(content)
        self.sign(self.record, "index", mutate.text(value))

    @property
    def index(self) -> dict[str, Any]:
        return dict(parse_json(self.read(self.record, "index")[1]))

    @property
    def segment(self) -> dict[str, Any]:
        return dict(self.index["variants"][0]["parts"][0]["segments"][0])
