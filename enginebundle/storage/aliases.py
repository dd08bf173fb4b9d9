"""Aliases: names of a bundle's versions that move, each move signed and numbered.

The moves of an alias are slots numbered from 1, each filled by one `Storage.create`: a compare-and-set, in which
the first writer wins and every writer learns who won. The highest slot counts. What it holds is followed only
if a trusted key signed it for this bundle, alias and slot; if this machine has seen no higher number of a
trusted key in this store; and if it has not expired. Else it is an error, since what the alias means now is
not known: an earlier move is what somebody who took the last one away would like to have followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from enginebundle.errors import (
    BundleError,
    ConflictError,
    FormatError,
    IntegrityError,
    NotFoundError,
    StaleError,
    StoreError,
    UntrustedError,
)
from enginebundle.format.digest import Digest
from enginebundle.format.move import LAST, Move, counted, stamp
from enginebundle.format.parse import check_name, fields, is_name, json_object, text
from enginebundle.format.reference import Reference
from enginebundle.format.signing import Signer
from enginebundle.storage.bundles import Version
from enginebundle.storage.denials import DenialStore
from enginebundle.storage.pointer import ROLE, Pointer, record
from enginebundle.storage.reading import SMALL
from enginebundle.storage.seen import kept_in, remember, seen
from enginebundle.storage.trust import Trust, default_signer


class AliasStore(DenialStore):
    """The part of a store that keeps aliases, and knows what a reference means."""

    def resolve(
        self, reference: str, trust: Trust | None = None, *, allow_stale: bool = False
    ) -> Version:
        """The version that `NAME`, `NAME@3`, `NAME@sha256:...` or `NAME:alias` means. Or NotFoundError.

        An alias is followed as `move` checks it, and raises what that raises. The version itself is not
        trusted yet.
        """
        wanted = Reference.parse(reference)
        if wanted.digest is not None:
            for version in self.versions(wanted.name):
                if version.digest == wanted.digest:
                    return version
            raise self._unknown(wanted, f"index {wanted.digest}")
        if wanted.alias is None:
            return self._numbered(wanted, wanted.number or 0)
        pointer = self.pointer(wanted.name, wanted.alias)
        if pointer is None:
            raise self._unknown(wanted, f"alias {wanted.alias!r}")
        move = self.move(pointer, trust, allow_stale=allow_stale)
        version = self._numbered(wanted, move.version)
        if version.digest != move.index:
            raise IntegrityError(
                f"{pointer} was signed for version {move.version} with index {move.index}, and the store has "
                f"{version.digest} there: one of the two was changed. Move the alias again: "
                f"{pointer.remedy}"
            )
        return version

    def aliases(self, name: str) -> dict[str, int]:
        """The version number that each alias says. Nothing is trusted yet; what can't be read is left out."""
        return {pointer.alias: pointer.version for pointer in self.pointers(name)}

    def pointers(self, name: str) -> list[Pointer]:
        """The last move of each alias of a bundle. Nothing is trusted yet; what can't be read is left out."""
        found = []
        for alias in filter(is_name, self._storage.children(_aliases(name))):
            with self._said(f"alias {name}:{alias} is left out"):
                found.append(self.pointer(name, alias))
        return [pointer for pointer in found if pointer is not None]

    def pointer(self, name: str, alias: str) -> Pointer | None:
        """The last move of an alias; None if it has none. FormatError if it can't be read."""
        before = self._seen(name, alias)
        slots = self._slots(_moves(name, alias))
        return self._pointer(name, alias, slots[-1], before) if slots else None

    def move(
        self, pointer: Pointer, trust: Trust | None = None, *, allow_stale: bool = False
    ) -> Move:
        """What a trusted key signed about an alias; this machine remembers its number.

        `trust` defaults to this machine's keys. Raises UntrustedError (no trusted key signed it),
        IntegrityError (it was signed for another place, or changed), FormatError, or StaleError: this machine has
        seen a later move, or it has expired; `allow_stale` follows it all the same.
        """
        trust = self.honour(trust)
        if not pointer.document:
            raise UntrustedError(
                f"{pointer} points at version {pointer.version} and is not signed, as aliases were at first: "
                f"anybody may have moved it. If that version is right, sign it: {pointer.remedy}. Or name "
                f"the version: {pointer.name}@{pointer.version}"
            )
        try:
            signers = trust.verify(pointer.document, pointer.signature, ROLE, pointer.name)
            move = Move.from_bytes(pointer.document)
        except (UntrustedError, IntegrityError) as error:
            raise type(error)(f"{pointer}: {error}") from error
        signed = move.name, move.alias, move.sequence, move.version
        if signed != (pointer.name, pointer.alias, pointer.slot, pointer.version):
            raise IntegrityError(
                f"{pointer}, move {pointer.slot} to version {pointer.version}: what is signed there is move "
                f"{move.sequence} of {move.name}:{move.alias} to version {move.version}, so it was put there by "
                f"somebody else. Move the alias again: {pointer.remedy}"
            )
        highest = pointer.highest(trust)
        if move.sequence > highest:
            remember(
                self._subject(move.name), {(move.alias, key): move.sequence for key in signers}
            )
        if not allow_stale:
            self._check_fresh(pointer, move, highest)
        return move

    def standing(
        self, pointer: Pointer | None, trust: Trust | None = None, lifetime: timedelta | None = None
    ) -> Move | None:
        """What an alias means to whoever trusts these keys; None if it has to be signed again.

        That is, if they would refuse it, if half of its lifetime is over, or if it is to have another one.
        """
        try:
            move = None if pointer is None else self.move(pointer, trust)
        except BundleError:
            return None
        if move is None or move.due(datetime.now(UTC)):
            return None
        return move if lifetime in (None, move.lifetime or timedelta(0)) else None

    def set_alias(
        self,
        name: str,
        alias: str,
        number: int,
        *,
        expected: int | None = None,
        signer: Signer | None = None,
        trust: Trust | None = None,
        lifetime: timedelta | None = None,
    ) -> None:
        """Point an alias at a version, signed with `signer` or this machine's key. NotFoundError if there is no
        such version.

        With `expected`, ConflictError unless the alias points at that version; 0 means that the alias must not
        exist yet. Loaders refuse it once `lifetime` is over; zero is for ever, and None the lifetime that it had.
        An alias that points there already is signed anew only if it is not `standing`.
        """
        folder, version = _moves(name, alias), self._numbered(Reference(name, alias=alias), number)
        signer = signer or default_signer()
        keys = self.honour((trust or Trust.default()).adding(signer.keys))
        keys.check_signer(signer, ROLE, name)
        while True:
            before = self._seen(name, alias)
            slot, pointer = max(self._slots(folder), default=0), None
            with self._said(f"alias {name}:{alias} is written anew"):
                pointer = self._pointer(name, alias, slot, before) if slot else None
            current = 0 if pointer is None else pointer.version
            if expected is not None and current != expected:
                raise ConflictError(
                    f"alias {name}:{alias} points at version {current or 'none'}, expected "
                    f"{expected or 'none'}: somebody moved it. Look again, then decide"
                )
            stands = self.standing(pointer, keys, lifetime)
            if stands and (stands.version, stands.index) == (number, version.digest):
                return
            gone = (number for key, number in before.items() if key in keys.keys)
            sequence = 1 + max([slot, *gone])
            if sequence > LAST:
                raise StoreError(
                    f"alias {name}:{alias} has no number left after {LAST}: somebody used up all. Remove "
                    f"{folder}/{LAST}.json, if no machine has followed it"
                )
            now = datetime.now(UTC)
            span = self._lifetime(pointer, keys) if lifetime is None else lifetime
            move = Move(
                name, alias, sequence, number, version.digest, stamp(now),
                stamp(now + span) if span else "",
            )  # fmt: skip
            made = record(move, signer)
            if self._storage.create(f"{folder}/{sequence}.json", made) == made:
                remember(self._subject(name), {(alias, key): sequence for key in signer.keys})
                return

    def sign_move(self, pointer: Pointer, signature: bytes) -> None:
        """Put a further signature document over a move beside what is there."""
        self._sign(f"{_moves(pointer.name, pointer.alias)}/{pointer.slot}.json", signature)

    def _lifetime(self, pointer: Pointer | None, trust: Trust) -> timedelta | None:
        try:
            return None if pointer is None else self.move(pointer, trust, allow_stale=True).lifetime
        except BundleError:
            return None

    def _check_fresh(self, pointer: Pointer, move: Move, highest: int) -> None:
        if move.sequence < highest:
            raise StaleError(
                f"{pointer} is at move {move.sequence}, to version {move.version}, and this machine has seen move "
                f"{highest}: the store was set back, or made anew. If that is right, remove "
                f"{kept_in(self._subject(move.name)) / move.alias}, or pass allow_stale"
            )
        if move.expired(datetime.now(UTC)):
            raise StaleError(
                f"{pointer} expired at {move.expires}, and nobody has signed it since: its store may be withholding "
                f"later moves. Have it signed again: {pointer.remedy}; or pass allow_stale"
            )

    def _seen(self, name: str, alias: str) -> dict[Digest, int]:
        known = seen(self._subject(name), str)
        return {key: number for (place, key), number in known.items() if place == alias}

    def _pointer(self, name: str, alias: str, slot: int, before: Mapping[Digest, int]) -> Pointer:
        path = f"{_moves(name, alias)}/{slot}.json"
        value = fields(
            json_object(self._storage.get(path, SMALL) or b"", path),
            path, ("version",), ("move", "signature"),
        )  # fmt: skip
        version = counted(value["version"], "version")
        move, signature = (text(value.get(key, ""), key) for key in ("move", "signature"))
        if bool(move) != bool(signature):
            raise FormatError(f"{path}: expected a move and its signature, or neither")
        return Pointer(name, alias, slot, version, move.encode(), signature.encode(), before)

    def _numbered(self, wanted: Reference, number: int) -> Version:
        try:
            return self._version(wanted.name, number)
        except NotFoundError as error:
            raise self._unknown(wanted, f"version {number}") from error

    def _unknown(self, wanted: Reference, what: str) -> NotFoundError:
        numbers = self.numbers(wanted.name)
        if not numbers:
            names = ", ".join(self.names()) or "none"
            return NotFoundError(f"store {self.uri} has no bundle {wanted.name!r}; it has: {names}")
        aliases = ", ".join(f"{a} -> {n}" for a, n in self.aliases(wanted.name).items())
        return NotFoundError(
            f"{wanted}: store {self.uri} has no {what} of {wanted.name!r}; "
            f"it has versions {numbers} and aliases {aliases or 'none'}"
        )


def _aliases(name: str) -> str:
    return f"bundles/{check_name(name, 'bundle name')}/aliases"


def _moves(name: str, alias: str) -> str:
    return f"{_aliases(name)}/{check_name(alias, 'alias')}"
