"""What is proved about published versions: as the loader decides it, with the keys that this machine trusts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from enginebundle.format.digest import Digest
from enginebundle.format.evidence import Evidence
from enginebundle.format.signing import Signer
from enginebundle.format.spec import Target
from enginebundle.format.verdict import Verdict
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.machine import Machine, this_machine
from enginebundle.storage.ledger import attest
from enginebundle.storage.store import Store, Version
from enginebundle.storage.trust import Trust
from orchestrator.worker.outcome import Failed


@dataclass(frozen=True)
class Proofs:
    """Opens each version once, and again after it got new evidence. Any thread may call it."""

    store: Store
    signer: Signer
    _opened: dict[str, Bundle] = field(default_factory=dict, repr=False)

    @cached_property
    def trust(self) -> Trust:
        """This machine's keys, and the signer's, without what is revoked in the store."""
        return self.store.honour(Trust.default().adding(self.signer.keys))

    def bundle(self, version: Version) -> Bundle:
        """A version that a trusted key signed. Raises what `Bundle.open` raises."""
        found = self._opened.get(str(version))
        if found is None:
            found = self._opened[str(version)] = Bundle.open(self.store, version, self.trust)
        return found

    def attest(self, version: Version, blob: Digest) -> Failed | None:
        """Sign what a validation measured, unless that is done already; why the variant is not validated.

        None if it is, and also if the evidence passed and counts only on machines unlike this one.
        """
        evidence = Evidence.from_bytes(self.store.read_blob(blob))
        if not self._known(version, evidence):
            # What is damaged counts for nobody, and would lie beside what is written anew.
            self.store.check_evidence(version)
            attest(self.store, version, evidence, self.signer, self.trust)
            self._opened.pop(str(version), None)
        verdict = self.verdicts(version).get(evidence.target, Verdict("pending"))
        if verdict.state == "failed" or not evidence.passed:
            variant = self.bundle(version).index.variant(evidence.target)
            return _failure(verdict, evidence, "fp32" if variant is None else variant.precision)
        return None

    def verdicts(self, version: Version) -> Mapping[Target, Verdict]:
        """The states of a version's variants on this machine, and why. Raises what `bundle` raises."""
        return self.bundle(version).verdicts_on(self._machine)

    @cached_property
    def _machine(self) -> Machine:
        return this_machine()

    def _known(self, version: Version, evidence: Evidence) -> bool:
        ledger = self.bundle(version).ledger
        whole = all(gap.target != evidence.target for gap in ledger.missing)
        return whole and any(one.content.measured == evidence.measured for one in ledger.evidence)


def _failure(verdict: Verdict, evidence: Evidence, precision: str) -> Failed:
    """Why a variant is not validated, although its validation ran."""
    decided = evidence if verdict.state != "failed" else verdict.evidence
    if decided is None:
        return Failed("evidence", verdict.reason)
    newer = "" if decided.measured == evidence.measured else f"; measured on {decided.date[:19]}"
    if any(not case.passed for case in decided.cases):
        return Failed("accuracy", shortfall(decided, precision) + newer)
    return Failed("accuracy", (verdict.reason or "it did not reproduce its goldens") + newer)


def shortfall(evidence: Evidence, precision: str = "fp32") -> str:
    """The message for a validation that did not pass, of a variant of this precision."""
    bad = [case for case in evidence.cases if not case.passed]
    worst = max(bad, key=lambda case: (case.worst < 0, case.worst))
    size = (
        f"max |error| {worst.max_abs:.3g}, {worst.worst:.3g} times what its tolerance allows"
        if worst.worst >= 0
        else "wrong shape or dtype, or a NaN where the golden has none"
    )
    return (
        f"{len(bad)} of {len(evidence.cases)} outputs are outside their tolerance on "
        f"{evidence.target}; worst: golden {worst.golden!r}, output {worst.output!r}: {size}; "
        f"{'' if precision == 'fp32' else 'raise the precision, '}keep the module in torch with "
        "torch_executed_modules, or give a tolerance"
    )
