"""A bundle whose signature holds: its index, its variants' states, and its verified blobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from enginebundle.errors import IntegrityError
from enginebundle.format.digest import Digest
from enginebundle.format.evidence import State, state
from enginebundle.format.index import Index
from enginebundle.format.spec import Target
from enginebundle.serve import machine
from enginebundle.storage.bundles import BundleStore, Version
from enginebundle.storage.trust import SignedEvidence, Trust, trusted_evidence


@dataclass(frozen=True)
class Bundle:
    """One version of a bundle in a store. `signer` is the id of the trusted key that signed it."""

    store: BundleStore
    version: Version
    index: Index
    signer: Digest
    evidence: tuple[SignedEvidence, ...]

    @classmethod
    def open(cls, store: BundleStore, version: Version, trust: Trust | None = None) -> Bundle:
        """Check the signature over the raw index, and only then parse it.

        Raises UntrustedError, IntegrityError, FormatError or NotFoundError.
        """
        trust = Trust.default() if trust is None else trust
        raw, signature = store.read_index(version)
        signer = trust.verify(raw, signature)
        index = Index.from_bytes(raw)
        if index.name != version.name:
            # A signed index of another model, put under this name, is still another model.
            raise IntegrityError(
                f"the store has the index of {index.name!r} under the name {version.name!r}"
            )
        return cls(store, version, index, signer, trusted_evidence(store.evidence(version), trust))

    @property
    def states(self) -> Mapping[Target, State]:
        """Each variant's state for this machine, from evidence that trusted keys signed for exactly
        this index."""
        arch = machine.find().arch
        known = [signed.evidence for signed in self.evidence]
        targets = [variant.target for variant in self.index.variants]
        return {target: state(self.version.digest, target, known, arch) for target in targets}

    def read(self, digest: Digest) -> bytes:
        """A blob of this bundle, checked against its digest and its size in the index."""
        sizes = dict(self.index.blobs)
        data = self.store.read_blob(digest)
        if len(data) != sizes.get(digest):
            raise IntegrityError(
                f"blob {digest}: the index says {sizes.get(digest)} bytes, got {len(data)}"
            )
        return data
