"""Further signatures beside those that are there: so that a new key can take an old one's place.

cosign(store, version, signer, trust)
"""

from __future__ import annotations

from enginebundle.errors import BundleError
from enginebundle.format.signing import Signer
from enginebundle.storage.bundles import Version
from enginebundle.storage.ledger import advance, read
from enginebundle.storage.pointer import Pointer
from enginebundle.storage.proofs import ProofStore
from enginebundle.storage.trust import Trust


def cosign(
    store: ProofStore, version: Version, signer: Signer, trust: Trust | None = None
) -> tuple[Pointer, ...]:
    """Sign with all keys of a signer what trusted keys signed about a version: the index, the evidence, the
    aliases that point there, which are returned, and the store's list of what is revoked.

    Raises what opening the version raises. The list comes first: without it, whoever trusts the new key alone
    opens nothing. It may be repeated, also after it was killed.
    """
    trust = store.honour((Trust.default() if trust is None else trust).adding(signer.keys))
    trust.check(version, version.digest)
    raw, signature = store.read_index(version)
    trust.verify(raw, signature, "bundles", version.name)
    store.sign_denials(signer, trust)
    ledger = read(store, version, trust)
    store.sign_evidence(version, signer, {one.document for one in ledger.evidence})
    for target in {one.content.target for one in ledger.evidence}:
        advance(store, version, signer, trust, target)
    store.sign_version(version, signer.sign(raw))
    moved = []
    for pointer in store.pointers(version.name):
        try:
            move = store.move(pointer, trust)
        except BundleError:
            continue
        if (move.version, move.index) == (version.number, version.digest):
            store.sign_move(pointer, signer.sign(pointer.document))
            moved.append(pointer)
    return tuple(moved)
