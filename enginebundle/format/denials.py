"""The list of keys and versions that nobody should trust any more, of one store. Each list is whole, and numbered."""

from __future__ import annotations

from dataclasses import dataclass

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest, canonical_json
from enginebundle.format.move import counted, moment
from enginebundle.format.parse import array, check_canonical, digest, document_of, text

FORMAT = "enginebundle.denials/1"
MAX_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Denials:
    """The `sequence`-th list: ids of keys and digests of indexes, each ascending. `date`: as `move.stamp` writes it."""

    sequence: int
    keys: tuple[Digest, ...]
    indexes: tuple[Digest, ...]
    date: str

    def to_bytes(self) -> bytes:
        """This document as canonical JSON."""
        return canonical_json(
            {
                "format": FORMAT,
                "sequence": self.sequence,
                "keys": list(self.keys),
                "indexes": list(self.indexes),
                "date": self.date,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Denials:
        """Read a document whose signature has been checked. FormatError on anything unexpected."""
        value = document_of(data, FORMAT, ("sequence", "keys", "indexes", "date"), MAX_BYTES)
        keys, indexes = (
            array(value[name], name, lambda each, name=name: digest(each, name))  # type: ignore[misc]
            for name in ("keys", "indexes")
        )
        denials = cls(
            counted(value["sequence"], "sequence"), keys, indexes, text(value["date"], "date")
        )
        moment(denials.date)
        for listed in (keys, indexes):
            if list(listed) != sorted(set(listed)):
                raise FormatError("denials: expected each list ascending, and nothing twice")
        check_canonical(denials.to_bytes(), data, "denials")
        return denials
