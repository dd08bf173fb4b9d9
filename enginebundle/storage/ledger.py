"""All evidence about a version: what trusted keys signed, which of it is missing, and how to add to it.

read(store, version, trust)                        -> Ledger
attest(store, version, evidence, signer, trust)    -> the evidence as it was signed
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from enginebundle.errors import (
    ConflictError,
    FormatError,
    IntegrityError,
    StoreError,
    UntrustedError,
)
from enginebundle.format.digest import Digest, digest_bytes
from enginebundle.format.evidence import Evidence
from enginebundle.format.head import Head
from enginebundle.format.signing import Signer
from enginebundle.format.spec import Target
from enginebundle.format.verdict import Missing
from enginebundle.storage.bundles import Version
from enginebundle.storage.proofs import ProofStore
from enginebundle.storage.seen import remember, seen
from enginebundle.storage.trust import Trust

T = TypeVar("T", Evidence, Head)
Numbers = Mapping[tuple[Target, Digest], int]
"""The highest sequence number by target and key."""
ROLE = "evidence"
TRIES = 100
"""How often a writer looks again. It loses only to writers that win, so this ends where the store does not keep
what is written."""


@dataclass(frozen=True)
class Signed(Generic[T]):
    """A document that a trusted key signed, and what it was read from; once for each such key."""

    content: T
    document: bytes
    signature: bytes
    signer: Digest


@dataclass(frozen=True)
class Ledger:
    """The trusted evidence and heads about one index, and what this machine saw of it before."""

    evidence: tuple[Signed[Evidence], ...]
    heads: tuple[Signed[Head], ...]
    seen: Numbers

    @property
    def highest(self) -> Numbers:
        """The highest number that each key has given away, for each target."""
        found = dict(self.seen)
        given = [(s.content.target, s.signer, s.content.sequence) for s in self.evidence]
        given += [(s.content.target, s.signer, s.content.sequence) for s in self.heads]
        for target, key, number in given:
            if number:
                found[target, key] = max(found.get((target, key), 0), number)
        return found

    @property
    def missing(self) -> tuple[Missing, ...]:
        """What trusted keys signed and the store does not show."""
        return tuple(
            gap for (target, key), number in self.highest.items()
            for gap in self._gaps(target, key, number)
        )  # fmt: skip

    def last(self, target: Target, keys: Collection[Digest]) -> Digest | None:
        """The digest of the newest evidence of any of these keys that is known, even if it is missing."""
        found = [
            (one.content.sequence, digest_bytes(one.document))
            for one in self.evidence if one.content.target == target and one.signer in keys
        ] + [
            (one.content.sequence, one.content.evidence)
            for one in self.heads if one.content.target == target and one.signer in keys
        ]  # fmt: skip
        return max((one for one in found if one[0]), default=(0, None))[1]

    def _gaps(self, target: Target, key: Digest, highest: int) -> list[Missing]:
        own = [e for e in self.evidence if (e.content.target, e.signer) == (target, key)]
        there = {digest_bytes(one.document): one.content.sequence for one in own}
        newest = max(there.values(), default=0)
        heads = [h.content for h in self.heads if (h.content.target, h.signer) == (target, key)]
        head = max(heads, key=lambda one: one.sequence, default=None)
        found = []
        if newest and head is None:
            found.append((newest + 1, "the store has none of the key's heads, which name its last"))
        if head is not None and head.evidence not in there:
            found.append((head.sequence, f"number {head.sequence}, which the key's head names"))
        if highest > newest and (head is None or highest > head.sequence):
            found.append((highest, f"this machine saw number {highest}, and it is gone"))
        # Of keys that sign together, each may have begun after another's.
        all_there = {digest_bytes(e.document) for e in self.evidence}
        for one in own:
            previous = one.content.previous
            if previous is not None and previous not in all_there:
                number = one.content.sequence
                found.append((number - 1, f"the one of the same key before number {number}"))
        return [Missing(target, n, f"{why} (target {target}, key {key})") for n, why in found]


def read(
    store: ProofStore, version: Version, trust: Trust, targets: Collection[Target] | None = None
) -> Ledger:
    """What trusted keys signed about a version's `targets`; None for all. All else is ignored, also what they
    signed in vain: evidence that contradicts itself.

    Remembers the highest numbers on this machine.
    """
    # In this order: who adds evidence writes that, then its head, then remembers it. Read in the same order,
    # what is added meanwhile would seem to be gone.
    known = seen(version.digest, Target.parse)
    keys = trust.allowed(ROLE, version.name)
    heads = _signed(store.heads(version, targets, keys), version, trust, Head.from_bytes)
    evidence = _signed(store.evidence(version, targets), version, trust, Evidence.from_bytes)
    ledger = Ledger(
        tuple(one for one in evidence if one.content.index == version.digest),
        tuple(one for one in heads if one.content.index == version.digest),
        {place: number for place, number in known.items() if place[1] in keys},
    )
    news = {p: number for p, number in ledger.highest.items() if number > known.get(p, 0)}
    remember(version.digest, news)
    return ledger


def attest(
    store: ProofStore,
    version: Version,
    evidence: Evidence,
    signer: Signer,
    trust: Trust | None = None,
) -> Evidence:
    """Sign evidence as the newest about its target, and store it; returns it as it was signed.

    What a trusted key has signed already is not signed again. `trust` defaults to this machine's keys; the
    signer's own is always among them. Raises FormatError if the evidence contradicts itself, ConflictError if
    it is about another index, StoreError if the store does not keep what is written.
    """
    trust = store.honour((Trust.default() if trust is None else trust).adding(signer.keys))
    trust.check_signer(signer, ROLE, version.name)
    Evidence.from_bytes(evidence.to_bytes())
    if evidence.index != version.digest:
        raise ConflictError(
            f"evidence about index {evidence.index} can't be signed for {version}, {version.digest}"
        )
    target = evidence.target
    for _ in range(TRIES):
        ledger = read(store, version, trust, (target,))
        known = [e for e in ledger.evidence if e.content.measured == evidence.measured]
        if known:
            own = [one.content for one in known if one.signer in signer.keys]
            break
        highest = [n for (place, _), n in ledger.highest.items() if place == target]
        number = 1 + max([0, *highest, *store.evidence_numbers(version, target)])
        signed = replace(evidence, sequence=number, previous=ledger.last(target, signer.keys))
        data = signed.to_bytes()
        # Of two that count on from the same number, one learns here that it has to look again.
        if store.add_evidence(version, target, number, data, signer.sign(data)):
            own = [signed]
            break
    else:
        raise _lost(version, target)
    if not own or not own[-1].sequence:
        return known[-1].content
    advance(store, version, signer, trust, target)
    return own[-1]


def advance(
    store: ProofStore, version: Version, signer: Signer, trust: Trust, target: Target
) -> None:
    """Let the head of each of the signer's keys that has signed evidence name its newest."""
    for one in signer.each:
        _advance(store, version, one, trust, target)


def _advance(
    store: ProofStore, version: Version, signer: Signer, trust: Trust, target: Target
) -> None:
    for _ in range(TRIES):
        last = store.head_record(version, target, signer.key_id)
        ledger = read(store, version, trust, (target,))
        newest = max(
            (e for e in ledger.evidence if (e.content.target, e.signer) == (target, signer.key_id)),
            key=lambda one: one.content.sequence, default=None,
        )  # fmt: skip
        if newest is None or not newest.content.sequence:
            return
        number = newest.content.sequence
        heads = [h.content.sequence for h in ledger.heads
                 if (h.content.target, h.signer) == (target, signer.key_id)]  # fmt: skip
        if heads and max(heads) >= number:
            return
        head = Head(version.digest, target, number, digest_bytes(newest.document)).to_bytes()
        store.put_head(version, target, signer.key_id, head, signer.sign(head), last)
    raise _lost(version, target)


def _lost(version: Version, target: Target) -> StoreError:
    return StoreError(
        f"evidence about {version} on {target} was written {TRIES} times, and the store does not show it. "
        "Check that nothing else removes or replaces files under bundles/"
    )


def _signed(
    documents: Iterable[tuple[bytes, bytes]],
    version: Version,
    trust: Trust,
    parse: Callable[[bytes], T],
) -> tuple[Signed[T], ...]:
    """The documents among (document, signature) pairs that a trusted key signed and that are sound."""
    accepted = []
    for data, signature in documents:
        try:
            signers = trust.verify(data, signature, ROLE, version.name)
            content = parse(data)
            accepted += [Signed(content, data, signature, signer) for signer in signers]
        except (UntrustedError, IntegrityError, FormatError):
            continue
    return tuple(accepted)
