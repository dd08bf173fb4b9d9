"""A bundle whose signature was checked: its index, the states of its variants, its verified blobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from enginebundle.errors import FormatError, IntegrityError, NotFoundError, UnreadableError
from enginebundle.format.digest import Digest
from enginebundle.format.evidence import Evidence
from enginebundle.format.index import Index
from enginebundle.format.spec import Target
from enginebundle.format.variant import Variant
from enginebundle.format.verdict import State, Verdict, verdict
from enginebundle.serve.files import Files
from enginebundle.serve.machine import Machine, this_machine
from enginebundle.storage.bundles import Version
from enginebundle.storage.ledger import Ledger, Signed, read
from enginebundle.storage.proofs import ProofStore
from enginebundle.storage.trust import Trust

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Bundle:
    """One version of a bundle in a store. `signers` are the ids of the trusted keys that signed it."""

    store: ProofStore
    version: Version
    index: Index
    signers: tuple[Digest, ...]
    ledger: Ledger

    @classmethod
    def open(cls, store: ProofStore, version: Version, trust: Trust | None = None) -> Bundle:
        """Check the signature over the raw index, and only then parse it.

        `trust` defaults to this machine's keys. Raises UntrustedError, IntegrityError, FormatError,
        StaleError or NotFoundError.
        """
        trust = store.honour(trust)
        trust.check(version, version.digest)
        raw, signature = store.read_index(version)
        signers = trust.verify(raw, signature, "bundles", version.name)
        index = Index.from_bytes(raw)
        if index.name != version.name:
            # The signature says who made the index, not where in the store it belongs.
            raise IntegrityError(
                f"the store has the index of {index.name!r} under the name {version.name!r}"
            )
        targets = {variant.target for variant in index.variants}
        return cls(store, version, index, signers, read(store, version, trust, targets))

    @property
    def signer(self) -> Digest:
        """One of the trusted keys that signed it."""
        return self.signers[0]

    @property
    def evidence(self) -> tuple[Signed[Evidence], ...]:
        """The evidence about this index that trusted keys signed."""
        return self.ledger.evidence

    @cached_property
    def verdicts(self) -> Mapping[Target, Verdict]:
        """Each variant's state on this machine, and why."""
        return self.verdicts_on(this_machine())

    def verdicts_on(self, machine: Machine) -> Mapping[Target, Verdict]:
        """Each variant's state for a machine that asks, and why."""
        known, missing = [signed.content for signed in self.evidence], self.ledger.missing
        cases = [(g.name, output.name) for g in self.index.goldens for output in self.index.outputs]
        return {
            variant.target: verdict(
                self.version.digest, variant.target, known, machine.arch,
                # Opened with another version, such an engine is run by other code.
                machine.runtime("tensorrt") if variant.version_compatible else None,
                missing=missing, cases=cases,
            )
            for variant in self.index.variants
        }  # fmt: skip

    @property
    def states(self) -> Mapping[Target, State]:
        """Each variant's state on this machine."""
        return {target: found.state for target, found in self.verdicts.items()}

    @property
    def files(self) -> Files:
        """The files that are attached to it."""
        return Files(self.index.attachments, self.read)

    def variant(self, target: Target) -> Variant:
        """The variant for exactly this target. NotFoundError if the bundle has none."""
        found = self.index.variant(target)
        if found is None:
            has = ", ".join(str(variant.target) for variant in self.index.variants)
            raise NotFoundError(f"{self.version} has no variant {target}; it has {has}")
        return found

    def read(self, digest: Digest) -> bytes:
        """A blob of this bundle, checked against its digest and its size in the index."""
        size = dict(self.index.blobs).get(digest, 0)
        try:
            data = self.store.read_blob(digest, size)
        except UnreadableError as error:
            raise IntegrityError(f"expected content {digest}: {error}. Copy it again") from error
        if len(data) != size:
            raise IntegrityError(f"blob {digest}: the index says {size} bytes, got {len(data)}")
        return data

    def read_tensors(self, digest: Digest) -> dict[str, torch.Tensor]:
        """The tensors of a blob of safetensors, by name. FormatError if it is not one."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return dict(load(self.read(digest)))
        except (SafetensorError, ValueError, KeyError) as error:
            raise FormatError(f"blob {digest} is not safetensors: {error}") from error
