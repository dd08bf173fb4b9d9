"""A bundle whose signature was checked: its index, the states of its variants, its verified blobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from enginebundle.errors import IntegrityError, NotFoundError
from enginebundle.format.digest import Digest
from enginebundle.format.evidence import State, state
from enginebundle.format.index import Index
from enginebundle.format.spec import Target
from enginebundle.format.variant import Variant
from enginebundle.serve.machine import this_machine
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

        `trust` defaults to this machine's keys. Raises UntrustedError, IntegrityError, FormatError
        or NotFoundError.
        """
        trust = Trust.default() if trust is None else trust
        raw, signature = store.read_index(version)
        signer = trust.verify(raw, signature)
        index = Index.from_bytes(raw)
        if index.name != version.name:
            # The signature says who made the index, not where in the store it belongs.
            raise IntegrityError(
                f"the store has the index of {index.name!r} under the name {version.name!r}"
            )
        return cls(store, version, index, signer, trusted_evidence(store.evidence(version), trust))

    @property
    def states(self) -> Mapping[Target, State]:
        """Each variant's state on this machine, from the evidence about exactly this index."""
        machine = this_machine()
        known = [signed.evidence for signed in self.evidence]
        return {
            variant.target: state(
                self.version.digest, variant.target, known, machine.arch,
                # Opened with another version, such an engine is run by other code.
                machine.runtime("tensorrt") if variant.version_compatible else None,
            )
            for variant in self.index.variants
        }  # fmt: skip

    def variant(self, target: Target) -> Variant:
        """The variant for exactly this target. NotFoundError if the bundle has none."""
        found = self.index.variant(target)
        if found is None:
            has = ", ".join(str(variant.target) for variant in self.index.variants)
            raise NotFoundError(f"{self.version} has no variant {target}; it has {has}")
        return found

    def read(self, digest: Digest) -> bytes:
        """A blob of this bundle, checked against its digest and its size in the index."""
        sizes = dict(self.index.blobs)
        data = self.store.read_blob(digest)
        if len(data) != sizes.get(digest):
            raise IntegrityError(
                f"blob {digest}: the index says {sizes.get(digest)} bytes, got {len(data)}"
            )
        return data
