"""What a store's owners revoked: keys, whose signatures count as none, and versions, which nobody opens.

The lists are slots numbered from 1, each filled by one `Storage.create`; the highest counts, and is whole. It
must be signed by a trusted key, and not by one that the list which this machine saw before had revoked. This
machine remembers the number of the last list that it has seen in each store, and what was on it: a store that
has an older one, or none, was set back, and nothing is opened.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime

from enginebundle.errors import (
    BundleError,
    FormatError,
    IntegrityError,
    RevokedError,
    StaleError,
    StoreError,
    UntrustedError,
)
from enginebundle.format.denials import MAX_BYTES, Denials
from enginebundle.format.digest import Digest, canonical_json, digest_bytes, hexadecimal
from enginebundle.format.move import LAST, stamp
from enginebundle.format.parse import fields, json_object, text
from enginebundle.format.signing import Signer
from enginebundle.storage.bundles import BundleStore
from enginebundle.storage.seen import kept_in, remember, seen
from enginebundle.storage.trust import Trust, default_signer

_FOLDER, _ROLE = "revoked", "revocations"
_KEY, _INDEX, _LIST = "key-", "index-", "list"
"""Places of the memory: what was on a list, and the list itself, each with the list's number."""


class DenialStore(BundleStore):
    """The part of a store that says what is revoked."""

    def honour(self, trust: Trust | None = None) -> Trust:
        """The trust, by default in this machine's keys, without what this store's owners revoked.

        Raises UntrustedError, IntegrityError or FormatError if the last list must not be used, and StaleError
        if this machine has seen a later one.
        """
        trust = Trust.default() if trust is None else trust
        if trust.heard == self._subject():
            return trust
        found = self._last(trust)
        keys, indexes = (found.keys, found.indexes) if found else ((), ())
        number = found.sequence if found else 0
        why = f"revoked by list {number} of store {self.uri}"
        return replace(
            trust,
            keys={key: public for key, public in trust.keys.items() if key not in keys},
            denied=dict.fromkeys((*keys, *indexes), why),
            heard=self._subject(),
        )

    def deny(
        self,
        keys: Collection[Digest] = (),
        indexes: Collection[Digest] = (),
        *,
        undo: bool = False,
        signer: Signer | None = None,
        trust: Trust | None = None,
    ) -> Denials:
        """Sign a list with these as well, or with `undo` without them. Returns what counts now.

        Who comes second starts from the other's list. A last list that must not be used is replaced by what this
        machine remembers. Raises FormatError for the signer's own key, RevokedError if that is revoked.
        """
        signer = signer or default_signer()
        own = (trust or Trust.default()).adding(signer.keys)
        for key in signer.keys:
            if key in keys and not undo:
                raise FormatError(
                    f"key {key} can't revoke itself: revoke it with another trusted key"
                )
        own.check_signer(signer, _ROLE)
        while True:
            known = self._known(own)
            highest = known.sequence if known else 0
            slot = max(self._slots(_FOLDER), default=0)
            try:
                last = self._last(own)
            except BundleError:
                last = known
            had = (last.keys, last.indexes) if last else ((), ())
            if signer.keys.keys() <= set(had[0]):
                raise RevokedError(f"key {signer.key_id} is revoked, and can't sign another list")
            change = set.difference if undo else set.union
            new = [
                sorted(change(set(a), set(b))) for a, b in zip(had, (keys, indexes), strict=True)
            ]
            if last and last.sequence == slot and [list(last.keys), list(last.indexes)] == new:
                return last
            number = 1 + max(slot, highest)
            if number > LAST:
                raise StoreError(f"no number is left after {LAST}: remove {_FOLDER}/{LAST}.json")
            made = Denials(number, tuple(new[0]), tuple(new[1]), stamp(datetime.now(UTC)))
            document = made.to_bytes()
            if len(document) > MAX_BYTES:
                raise FormatError(f"a list of {len(document)} bytes, expected at most {MAX_BYTES}")
            record = canonical_json(
                {"list": document.decode(), "signature": signer.sign(document).decode()}
            )
            if self._storage.create(f"{_FOLDER}/{number}.json", record) == record:
                self._remember(made, tuple(signer.keys))
                return made

    def sign_denials(self, signer: Signer, trust: Trust) -> None:
        """Sign the last list with further keys, if there is one that counts."""
        found = self._last(trust)
        if found:
            path = f"{_FOLDER}/{found.sequence}.json"
            self._sign(path, signer.sign(found.to_bytes()), 2 * MAX_BYTES)

    def copy_denials(self, other: DenialStore) -> None:
        """Let another store have the last list of this one, as it is."""
        for slot in self._slots(_FOLDER)[-1:]:
            path = f"{_FOLDER}/{slot}.json"
            other.storage.create(path, self._storage.get(path, 2 * MAX_BYTES) or b"")

    def _last(self, trust: Trust) -> Denials | None:
        """The list that counts. Raises what `honour` raises."""
        known = self._known(
            trust
        )  # first: who signs a list just now is remembered after it is there
        slots = self._slots(_FOLDER)
        highest = known.sequence if known else 0
        if not slots or slots[-1] < highest:
            if highest:
                raise StaleError(
                    f"store {self.uri} has list {slots[-1] if slots else 'none'} of what is revoked, and this machine "
                    f"has seen list {highest}: it was set back, or made anew. If that is right, remove "
                    f"{kept_in(self._subject())}"
                )
            return None
        path = f"{_FOLDER}/{slots[-1]}.json"
        value = fields(
            json_object(self._storage.get(path, 2 * MAX_BYTES) or b"", path),
            path, ("list", "signature"),
        )  # fmt: skip
        document, signature = (text(value[name], name).encode() for name in ("list", "signature"))
        try:
            signers = trust.verify(document, signature, _ROLE)
        except UntrustedError as error:
            raise type(error)(f"store {self.uri}, {path}: {error}") from error
        found = Denials.from_bytes(document)
        if found.sequence != slots[-1]:
            raise IntegrityError(
                f"store {self.uri}, {path}: what is signed is list {found.sequence}"
            )
        gone = {*(known.keys if known else ()), *found.keys}
        good = tuple(key for key in signers if key not in gone)
        if not good:
            raise RevokedError(
                f"store {self.uri}, {path}: signed by key {signers[0]}, which is revoked. Sign another list with a "
                "key that is not: kiln revoke"
            )
        if found.sequence > highest:
            self._remember(found, good)
        return found

    def _known(self, trust: Trust) -> Denials | None:
        """The last list of a trusted key that this machine has seen here, as far as it remembers."""
        allowed = trust.allowed(_ROLE)
        places = {
            (place, number)
            for (place, key), number in seen(self._subject(), str).items()
            if key in allowed
        }
        highest = max((number for place, number in places if place == _LIST), default=0)
        if not highest:
            return None
        names = sorted(place for place, number in places if number == highest)
        keys, indexes = (
            tuple(f"sha256:{name.removeprefix(kind)}" for name in names if name.startswith(kind))
            for kind in (_KEY, _INDEX)
        )
        return Denials(highest, keys, indexes, "")

    def _remember(self, found: Denials, signers: Collection[Digest]) -> None:
        # The number last: who is killed in between looks at the list again.
        places = [
            f"{kind}{hexadecimal(each)}"
            for kind, digests in ((_KEY, found.keys), (_INDEX, found.indexes)) for each in digests
        ]  # fmt: skip
        for place in (*places, _LIST):
            remember(self._subject(), {(place, key): found.sequence for key in signers})

    def _subject(self, name: str = "") -> Digest:
        """What is remembered about: this store, or its bundle of that name. Another store counts for itself."""
        local = self._storage.local("bundles")
        place = self.uri.partition("?")[0].rstrip("/") if local is None else os.path.realpath(local)
        return digest_bytes(os.fsencode(f"{place}\0{name}"))
