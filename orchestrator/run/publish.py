"""What only the driver does, because only it has the signing key: publish, promote, attest.

The private key never leaves the driver. Workers return digests, which become a signed index, signed
evidence, and an alias that moves by compare-and-set.
"""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from enginebundle.errors import BundleError, ConflictError, StoreError
from enginebundle.format.digest import Digest
from enginebundle.format.evidence import Evidence
from enginebundle.format.index import Golden, Index
from enginebundle.format.signing import Signer
from enginebundle.format.spec import Profile, Target, TensorSpec, Tolerance, Toolchain
from enginebundle.format.variant import Part, Variant
from enginebundle.serve.bundle import Bundle
from enginebundle.storage.store import Store, Version
from orchestrator.plan.decide import kept
from orchestrator.plan.keys import identity, key
from orchestrator.plan.task import Task, Upstream
from orchestrator.plan.task_id import TaskId
from orchestrator.worker.outcome import JSON, Blocked, Built, Cached, Failed, Outcome
from orchestrator.worker.steps import of


@dataclass(frozen=True)
class Publisher:
    """Publishes to a store with a signing key. Its methods turn the store's errors into Failed values."""

    store: Store
    signer: Signer
    run: str = ""

    @property
    def trust(self) -> list[str]:
        """The public key, as base64, that a worker must trust to open what is published here."""
        return [base64.b64encode(self.signer.public).decode()]

    def publish(self, task: Task, upstream: Upstream) -> Outcome:
        """Make a version with every target that was built completely. No alias moves."""
        started = time.monotonic()
        try:
            index = assemble(task.spec, upstream)
            data = index.to_bytes()
            version = self.store.publish(index.name, data, self.signer.sign(data))
            output = {"version": version.number, "index": version.digest}
            seconds = round(time.monotonic() - started, 3)
            own = key(task, upstream)
            record = {
                "key": own,
                "identity": identity(task, upstream),
                "output": output,
                "provenance": {
                    "host": socket.gethostname(),
                    "seconds": seconds,
                    "date": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "task": task.id,
                    "run": self.run,
                },
            }
            self.store.put_result(own, record)
        except BundleError as error:
            return _failed(error)
        return Built(output, seconds)

    def promote(self, task: Task, upstream: Upstream) -> Outcome:
        """Move the alias to the version just published, unless it is there already.

        It stays where it is if that version has a target that is blocked now: the services that load
        it would lose engines that nothing is wrong with.
        """
        name, alias = task.spec["name"], task.spec["alias"]
        number = of(upstream, "publish")["version"]
        output = {"alias": f"{name}:{alias}", "version": number}
        try:
            current = self.store.aliases(name).get(alias, 0)
            if current == number:
                return Cached(output)
            if lost := self._lost(task, upstream, current):
                return Blocked(kept(name, alias, lost))
            self.store.set_alias(name, alias, number, expected=current)
        except BundleError as error:
            return _failed(error)
        return Built(output, 0.0)

    def _lost(self, task: Task, upstream: Upstream, current: int) -> list[str]:
        """The targets that are blocked now and that the alias's current version has."""
        blocked = {TaskId.parse(n).target for n in task.blockable if n not in upstream}
        if not blocked or not current:
            return []
        had = targets_of(self.store, task.spec["name"], current)
        return [str(target) for target in had if target in blocked]

    def finish(self, task: Task, upstream: Upstream, outcome: Outcome) -> Outcome:
        """Sign what a validation measured. A validation that did not pass is a failure."""
        if task.step != "validate" or not isinstance(outcome, Built | Cached):
            return outcome
        published = of(upstream, "publish")
        version = Version(task.spec["name"], published["version"], published["index"])
        try:
            evidence = self.attest(version, outcome.output["evidence"])
        except BundleError as error:
            return _failed(error)
        return outcome if evidence.passed else Failed("accuracy", shortfall(evidence))

    def attest(self, version: Version, blob: Digest) -> Evidence:
        """Sign the evidence that a worker put in the store, and record it for the version."""
        data = self.store.read_blob(blob)
        evidence = Evidence.from_bytes(data)
        if evidence.index != version.digest:
            raise ConflictError(
                f"evidence {blob} is about index {evidence.index}, expected {version.digest}"
            )
        self.store.put_evidence(version, evidence.target, data, self.signer.sign(data))
        return evidence


def targets_of(store: Store, name: str, number: int) -> tuple[Target, ...]:
    """The targets of a published version. Raises what `Bundle.open` raises."""
    bundle = Bundle.open(store, store.resolve(f"{name}@{number}"))
    return tuple(variant.target for variant in bundle.index.variants)


def assemble(spec: Mapping[str, JSON], upstream: Upstream) -> Index:
    """The index of what was traced and built. FormatError if it is not consistent.

    A target with a profile that failed has no variant: half a variant would refuse shapes that the
    manifest promises.
    """
    traced = of(upstream, "trace")
    variants: list[Variant] = []
    blobs: dict[Digest, int] = {}
    for target in spec["targets"]:
        parts = _parts(target, spec, upstream)
        if parts:
            variants.append(_variant(Target.parse(target), parts))
            for part in parts:
                blobs |= part["blobs"]
    blobs |= {golden["blob"]: golden["bytes"] for golden in traced["goldens"]}
    return Index(
        name=spec["name"],
        inputs=tuple(TensorSpec.from_json(item) for item in traced["inputs"]),
        outputs=tuple(TensorSpec.from_json(item) for item in traced["outputs"]),
        profiles=tuple(Profile.from_json(item) for item in spec["profiles"]),
        goldens=tuple(Golden(golden["name"], golden["blob"]) for golden in traced["goldens"]),
        variants=tuple(variants),
        blobs=tuple(blobs.items()),
        program=traced["program"],
        labels=tuple(spec["labels"].items()),
    )


def _parts(target: str, spec: Mapping[str, JSON], upstream: Upstream) -> list[Mapping[str, Any]]:
    """The builds of a target in the order of their profiles; empty unless they serve all profiles."""
    order = [profile["name"] for profile in spec["profiles"]]
    found = [
        output
        for task_id, output in ((TaskId.parse(name), output) for name, output in upstream.items())
        if task_id.step == "build" and str(task_id.target) == target
    ]
    found.sort(key=lambda output: order.index(output["part"]["profiles"][0]))
    served = {name for output in found for name in output["part"]["profiles"]}
    return found if served == set(order) else []


def _variant(target: Target, builds: list[Mapping[str, Any]]) -> Variant:
    first = builds[0]
    return Variant(
        target,
        Toolchain.from_json(first["toolchain"]),
        first["precision"],
        tuple((name, Tolerance.from_json(b)) for name, b in first["tolerances"].items()),
        tuple(Part.from_json(build["part"]) for build in builds),
        first.get("version_compatible", False),
    )


def shortfall(evidence: Evidence) -> str:
    """The message for a validation that did not pass."""
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
        "raise the precision, keep the module in torch with torch_executed_modules, or give a "
        "tolerance"
    )


def _failed(error: BundleError) -> Failed:
    code = "infra" if isinstance(error, StoreError) else "publish"
    return Failed(code, f"{type(error).__name__}: {error}")
