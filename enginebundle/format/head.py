"""A head: the last word of one key about one variant, so that evidence can't be taken away unseen.

Evidence links to the evidence that the same key signed before, which shows that one in the middle is
gone. That the last one is gone only a head shows: it names the last evidence and its number, and is
signed by the same key. `enginebundle.storage.ledger` compares heads with what is there.
"""

from __future__ import annotations

from dataclasses import dataclass

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest, canonical_json
from enginebundle.format.evidence import LAST
from enginebundle.format.parse import check_canonical, digest, document_of, text
from enginebundle.format.spec import Target

FORMAT = "enginebundle.head/1"
MAX_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Head:
    """The last evidence of a key about `target` of the index: its number, and the digest of its document."""

    index: Digest
    target: Target
    sequence: int
    evidence: Digest

    def to_bytes(self) -> bytes:
        """This document as canonical JSON."""
        return canonical_json(
            {
                "format": FORMAT,
                "index": self.index,
                "target": str(self.target),
                "sequence": self.sequence,
                "evidence": self.evidence,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Head:
        """Read a document whose signature has been checked. FormatError on anything unexpected."""
        value = document_of(data, FORMAT, ("index", "target", "sequence", "evidence"), MAX_BYTES)
        sequence = value["sequence"]
        if type(sequence) is not int or not 1 <= sequence <= LAST:
            raise FormatError(f"head: expected a sequence of 1 to {LAST}, got {sequence!r}")
        head = cls(
            digest(value["index"], "index"),
            Target.parse(text(value["target"], "target")),
            sequence,
            digest(value["evidence"], "evidence"),
        )
        check_canonical(head.to_bytes(), data, "head")
        return head
