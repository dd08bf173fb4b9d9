"""A move: a key says which version an alias means from now on.

It names the bundle and the alias, so that it means nothing under another name; its number among the alias's
moves, so that an older one is known as older; the digest of the version's index, so that the number of a
version can't be given to another one; when it was signed; and, if its signer wants it, the time from which
nobody should follow it any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest, canonical_json
from enginebundle.format.parse import check_canonical, check_name, digest, document_of, text

FORMAT = "enginebundle.alias/1"
MAX_BYTES = 1 << 14
LAST = 999_999_999
"""The highest number of a move, and of a version: as many digits as the name of a slot may have."""


@dataclass(frozen=True, slots=True)
class Move:
    """The `sequence`-th move of an alias, to a version and its index.

    `date`, when it was signed, and `expires`, which may be empty, are as `stamp` writes them.
    """

    name: str
    alias: str
    sequence: int
    version: int
    index: Digest
    date: str
    expires: str = ""

    @property
    def lifetime(self) -> timedelta | None:
        """For how long it was to be followed; None if for ever."""
        return moment(self.expires) - moment(self.date) if self.expires else None

    def expired(self, now: datetime) -> bool:
        """Whether nobody should follow it any more."""
        return bool(self.expires) and now >= moment(self.expires)

    def due(self, now: datetime) -> bool:
        """Whether half of its lifetime is over, so that whoever may should sign it again."""
        lifetime = self.lifetime
        return lifetime is not None and now >= moment(self.expires) - lifetime / 2

    def to_bytes(self) -> bytes:
        """This document as canonical JSON."""
        value = {
            "format": FORMAT,
            "name": self.name,
            "alias": self.alias,
            "sequence": self.sequence,
            "version": self.version,
            "index": self.index,
            "date": self.date,
        }
        return canonical_json(value | ({"expires": self.expires} if self.expires else {}))

    @classmethod
    def from_bytes(cls, data: bytes) -> Move:
        """Read a document whose signature has been checked. FormatError on anything unexpected."""
        keys = ("name", "alias", "sequence", "version", "index", "date")
        value = document_of(data, FORMAT, keys, MAX_BYTES, ("expires",))
        move = cls(
            check_name(value["name"], "name"),
            check_name(value["alias"], "alias"),
            counted(value["sequence"], "sequence"),
            counted(value["version"], "version"),
            digest(value["index"], "index"),
            text(value["date"], "date"),
            text(value.get("expires", ""), "expires"),
        )
        signed = moment(move.date)
        if move.expires and moment(move.expires) <= signed:
            raise FormatError(f"expires: expected a time after {move.date}, got {move.expires}")
        check_canonical(move.to_bytes(), data, "move of an alias")
        return move


def counted(value: object, what: str) -> int:
    """The number of a move or of a version."""
    if type(value) is not int or not 1 <= value <= LAST:
        raise FormatError(f"{what}: expected a {what} number of 1 to {LAST}, got {value!r}")
    return value


def stamp(when: datetime) -> str:
    """A time as a move has it."""
    return when.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def moment(written: str) -> datetime:
    """The time that `stamp` wrote. FormatError on any other text."""
    try:
        when = datetime.fromisoformat(written).astimezone(UTC)
        if stamp(when) == written:
            return when
    except (ValueError, OverflowError):
        pass
    raise FormatError(f"time: expected YYYY-MM-DDTHH:MM:SSZ, got {written!r}")
