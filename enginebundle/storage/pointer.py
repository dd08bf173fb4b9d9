"""What the last move of an alias says, as it stands in a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from enginebundle.format.digest import Digest, canonical_json
from enginebundle.format.move import Move
from enginebundle.format.signing import Signer
from enginebundle.storage.trust import Trust

ROLE = "aliases"


@dataclass(frozen=True, slots=True)
class Pointer:
    """What the last move of an alias says. Nothing of it is trusted yet: `AliasStore.move` checks it.

    `seen`: the highest moves by key that this machine had seen before the store was asked. What it sees
    afterwards may be of somebody who moves the alias just now.
    """

    name: str
    alias: str
    slot: int
    version: int
    document: bytes
    signature: bytes
    seen: Mapping[Digest, int] = field(default_factory=dict, compare=False)

    def highest(self, trust: Trust) -> int:
        """The highest move that this machine had seen of a key that may move aliases of this bundle."""
        allowed = trust.allowed(ROLE, self.name)
        return max((number for key, number in self.seen.items() if key in allowed), default=0)

    @property
    def remedy(self) -> str:
        """Who signs it anew, and how."""
        return (
            f"`kiln alias {self.name}@{self.version} {self.alias}` on the machine that publishes "
            "(the next `kiln run` there does it for `latest`)"
        )

    def __str__(self) -> str:
        return f"alias {self.name}:{self.alias}"


def record(move: Move, signer: Signer) -> bytes:
    """What fills a slot. Beside what is signed, the version, so that listing aliases reads nothing untrusted."""
    document = move.to_bytes()
    return canonical_json(
        {
            "version": move.version,
            "move": document.decode(),
            "signature": signer.sign(document).decode(),
        }
    )
