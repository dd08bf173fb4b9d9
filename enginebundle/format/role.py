"""What a key may sign, for whoever trusts it: roles, and names of bundles.

Below the key's line in its `.pub` file, each of these lines may stand once:

    may: evidence               its roles; all of ROLES if the line is missing
    names: minilm bert-*        the bundles that it may sign for, `*` for any text; every name if it is missing
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from enginebundle.errors import FormatError

ROLES = ("bundles", "evidence", "aliases", "revocations")
_WHOLE_STORE = "revocations"
"""A list of what is revoked is about all bundles of a store, so names don't limit who signs it."""
_PATTERN = re.compile(r"[A-Za-z0-9_*][A-Za-z0-9_.\-*]*\Z")


@dataclass(frozen=True, slots=True)
class Limit:
    """The roles of a key, and the names that it may sign for; no names are all."""

    roles: tuple[str, ...] = ROLES
    names: tuple[str, ...] = ()

    def allows(self, role: str, name: str = "") -> bool:
        """Whether the key may sign documents of a role about the bundle of this name."""
        fits = not self.names or role == _WHOLE_STORE
        return role in self.roles and (fits or any(fnmatchcase(name, p) for p in self.names))

    def __str__(self) -> str:
        return f"{', '.join(self.roles)} of {', '.join(self.names) or 'any bundle'}"

    def lines(self) -> str:
        """The lines below a key's own that say this; none if it may sign everything."""
        may = f"may: {' '.join(self.roles)}\n"
        return (may if self != Limit() else "") + (
            f"names: {' '.join(self.names)}\n" if self.names else ""
        )

    @classmethod
    def of(cls, roles: Iterable[str] | None, names: Iterable[str] = ()) -> Limit:
        """Checked, and in one order. Who is limited to names, and not told which roles, revokes nothing."""
        patterns = tuple(names)
        for pattern in patterns:
            if not _PATTERN.match(pattern):
                raise FormatError(
                    f"names: expected names of bundles, such as bert-*, got {pattern!r}"
                )
        given = tuple(roles if roles is not None else ROLES[: -1 if patterns else None])
        if not given or not set(given) <= set(ROLES):
            raise FormatError(f"may: expected some of {', '.join(ROLES)}, got {' '.join(given)!r}")
        return cls(tuple(role for role in ROLES if role in given), patterns)

    @classmethod
    def parse(cls, text: str, where: str) -> Limit:
        """What stands below a key's line. FormatError on anything else, so that no slip makes a key mightier."""
        said: dict[str, list[str]] = {}
        for line in filter(None, map(str.strip, text.split("\n"))):
            word, colon, rest = line.partition(":")
            if not colon or word not in ("may", "names") or word in said or not rest.split():
                raise FormatError(
                    f"{where}: expected `may: ROLES` and `names: NAMES` once each, got {line!r}"
                )
            said[word] = rest.split()
        return cls.of(said.get("may"), said.get("names", ()))
