"""Signed evidence about versions, and the heads that name the last of it. Nothing here is trusted yet.

Whoever can write to a store can leave any number of files here, so a reader takes the newest records by the
names of their files, and no more than LATEST and TOGETHER. What it leaves out says nothing, as if it were
deleted: `storage.ledger` finds what is missing by the heads.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from enginebundle.format.digest import Digest, canonical_json, digest_bytes, hexadecimal
from enginebundle.format.evidence import MAX_BYTES
from enginebundle.format.parse import check_name
from enginebundle.format.signing import Signer
from enginebundle.format.spec import Target
from enginebundle.storage.aliases import AliasStore
from enginebundle.storage.bundles import Version
from enginebundle.storage.reading import SMALL

LATEST = 64
"""Records of evidence about one target that are read."""
TOGETHER = 16 << 20
"""Bytes of evidence about one target that are read."""

_RECORD = re.compile(r"([1-9][0-9]{0,15}|[0-9a-f]{64}-[0-9a-f]{16})\.json\Z")
"""Names of evidence: by number, and as it was before it had numbers."""
_HEAD = re.compile(r"[0-9a-f]{64}\.json\Z")

Documents = list[tuple[bytes, bytes]]
"""Documents, each with its signature."""


class ProofStore(AliasStore):
    """The part of a store that keeps evidence."""

    def put_evidence(
        self, version: Version, target: Target, evidence: bytes, signature: bytes
    ) -> Digest:
        """Store a signed Evidence document about a version's target. Returns the document's digest."""
        digest, signed = self.put_blob(evidence), self.put_blob(signature)
        path = f"{_evidence(version, target)}/{hexadecimal(digest)}-{hexadecimal(signed)[:16]}.json"
        self._storage.put(path, canonical_json({"evidence": digest, "signature": signed}))
        return digest

    def add_evidence(
        self, version: Version, target: Target, number: int, evidence: bytes, signature: bytes
    ) -> bool:
        """Store a signed Evidence document under its number. False if another took that number first."""
        record = canonical_json(
            {"evidence": self.put_blob(evidence), "signature": self.put_blob(signature)}
        )
        path = f"{_evidence(version, target)}/{number}.json"
        return self._storage.create(path, record) == record

    def evidence(self, version: Version, targets: Collection[Target] | None = None) -> Documents:
        """The (evidence, signature) documents about a version's index: of each target the latest, oldest first.

        `targets`: those that count; None for all that the store has.
        """
        folder = _evidence(version)
        found: Documents = []
        for paths in self._by_target(folder, targets):
            left, newest = TOGETHER, []
            for path in sorted(_named(_RECORD, paths), key=_age, reverse=True)[:LATEST]:
                with self._said(f"evidence {path} is left out"):
                    newest.append(self._signed(path, "evidence", min(MAX_BYTES, left)))
                    left -= len(newest[-1][0])
            found += reversed(newest)
        return found

    def sign_evidence(self, version: Version, signer: Signer, documents: Collection[bytes]) -> None:
        """Sign those of the evidence about a version that are among `documents` with further keys.

        The newest first: who is killed in between leaves no older one as the last word of these keys.
        """
        known = {digest_bytes(document): document for document in documents}
        paths = _named(_RECORD, self._storage.files(_evidence(version)))
        for path in sorted(paths, key=_age, reverse=True):
            with self._said(f"evidence {path} is left out"):
                document = known.get(self._record(path, ("evidence", "signature"))["evidence"])
                if document is not None:
                    self._sign(path, signer.sign(document))

    def evidence_numbers(self, version: Version, target: Target) -> list[int]:
        """The numbers that evidence about a target has, ascending."""
        return self._slots(_evidence(version, target))

    def put_head(
        self, version: Version, target: Target, key: Digest, head: bytes, signature: bytes,
        last: bytes | None = None,
    ) -> bool:  # fmt: skip
        """Store a key's signed Head document about a target. False if `last` is not its last record any more."""
        record = canonical_json(
            {"head": self.put_blob(head), "signature": self.put_blob(signature)}
        )
        path = _heads(version, target, key)
        if last is None:
            return self._storage.create(path, record) == record
        return self._storage.replace(path, last, record)

    def head_record(self, version: Version, target: Target, key: Digest) -> bytes | None:
        """The record that `put_head` would replace."""
        return self._storage.get(_heads(version, target, key), SMALL)

    def heads(
        self,
        version: Version,
        targets: Collection[Target] | None = None,
        keys: Collection[Digest] | None = None,
    ) -> Documents:
        """The (head, signature) documents about a version's index: of these targets and keys, None for all."""
        names = None if keys is None else {f"{hexadecimal(key)}.json" for key in keys}
        found = []
        for paths in self._by_target(_heads(version), targets):
            for path in _named(_HEAD, paths):
                if names is None or _name(path) in names:
                    with self._said(f"head {path} is left out"):
                        found.append(self._signed(path, "head", SMALL))
        return found

    def check_evidence(self, version: Version) -> None:
        """Set damaged evidence and heads aside: new ones are about to come, and could not be read beside them."""
        for folder, word, names in (
            (_evidence(version), "evidence", _RECORD), (_heads(version), "head", _HEAD),
        ):  # fmt: skip
            for path in _named(names, self._storage.files(folder)):
                with self._said(f"{word} {path} can't be checked"):
                    record = self._record(path, (word, "signature"))
                    self.check_blob(record[word])
                    self.check_blob(record["signature"])

    def _by_target(self, folder: str, targets: Collection[Target] | None) -> Iterable[list[str]]:
        """The paths below a folder, by the folder of their target."""
        wanted = None if targets is None else {_folder(target) for target in targets}
        found: dict[str, list[str]] = {}
        for path in self._storage.files(folder):
            target, _, name = path.removeprefix(f"{folder}/").partition("/")
            if (wanted is None or target in wanted) and "/" not in name:
                found.setdefault(target, []).append(path)
        return found.values()

    def _signed(self, path: str, word: str, limit: int) -> tuple[bytes, bytes]:
        """What a record names. The document last: what has no signature is of no use."""
        record = self._record(path, (word, "signature"))
        signature = self.read_blob(record["signature"], SMALL)
        return self.read_blob(record[word], limit), signature


def _named(pattern: re.Pattern[str], paths: Iterable[str]) -> list[str]:
    return [path for path in paths if pattern.match(_name(path))]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _age(path: str) -> tuple[int, str]:
    """Sorts evidence from before there were numbers before all that has one."""
    stem = _name(path).removesuffix(".json")
    return (int(stem) if len(stem) <= 16 else 0), stem


def _evidence(version: Version, target: Target | None = None) -> str:
    folder = f"bundles/{check_name(version.name, 'name')}/evidence/{hexadecimal(version.digest)}"
    return folder if target is None else f"{folder}/{_folder(target)}"


def _heads(version: Version, target: Target | None = None, key: Digest = "") -> str:
    folder = f"bundles/{check_name(version.name, 'name')}/heads/{hexadecimal(version.digest)}"
    return folder if target is None else f"{folder}/{_folder(target)}/{hexadecimal(key)}.json"


def _folder(target: Target) -> str:
    return str(target).replace(":", "-").replace("+", "-")
