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
from functools import cached_property

from enginebundle.errors import BundleError, FormatError, StoreError, UntrustedError
from enginebundle.format.digest import parse_json
from enginebundle.format.fallback import Fallback
from enginebundle.format.signing import Signer
from enginebundle.format.spec import Target
from enginebundle.serve.bundle import Bundle
from enginebundle.storage.pointer import Pointer
from enginebundle.storage.store import Store, Version
from orchestrator.plan.decide import kept
from orchestrator.plan.keys import identity, key
from orchestrator.plan.task import Task, Upstream
from orchestrator.plan.task_id import TaskId
from orchestrator.run.assemble import assemble
from orchestrator.run.attach import attach
from orchestrator.run.proofs import Proofs
from orchestrator.worker.outcome import JSON, Blocked, Built, Cached, Failed, Outcome
from orchestrator.worker.steps import of


@dataclass(frozen=True)
class Publisher:
    """Publishes to a store with a signing key. Its methods turn the store's errors into Failed values."""

    store: Store
    signer: Signer
    run: str = ""
    allow_unproved: bool = False

    @cached_property
    def proofs(self) -> Proofs:
        """What is proved about the versions in the store."""
        return Proofs(self.store, self.signer)

    @property
    def trust(self) -> list[str]:
        """The public keys, as base64, that a worker must trust to open what is published here."""
        return [base64.b64encode(public).decode() for public in self.signer.keys.values()]

    def publish(self, task: Task, upstream: Upstream) -> Outcome:
        """Make a version with every target that was built completely. No alias moves."""
        started = time.monotonic()
        try:
            spec = task.spec
            files = attach(
                self.store, spec.get("attachments", {}), spec.get("attachment_paths", {})
            )
            index = assemble(spec, upstream, files)
            data = index.to_bytes()
            for digest, size in index.blobs:
                if not self.store.has_blob(digest, size):
                    raise StoreError(f"the store lacks blob {digest} of {size} bytes; run again")
            self.proofs.trust.check_signer(self.signer, "bundles", index.name)
            version = self.store.publish(index.name, data, self.signer.sign(data))
            # Somebody else may have published the same, signed with a key that is not trusted here.
            self.proofs.bundle(version)
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
            # An older result may name a version that is lost.
            if self.store.put_result(own, record).get("output") != output:
                self.store.replace_result(own, record)
        except BundleError as error:
            return _failed(error)
        return Built(output, seconds)

    def promote(self, task: Task, upstream: Upstream) -> Outcome:
        """Move the alias to the version just published, unless it is there already.

        It stays where it is if that version has a target that is blocked now, or one that is validated
        there and not in the new version: the services that load it would lose engines that nothing is
        wrong with. With `allow_unproved` it moves all the same. An alias that is there, and that
        loaders refuse or soon will, is signed anew.
        """
        name, alias = task.spec["name"], task.spec["alias"]
        number = of(upstream, "publish")["version"]
        output = {"alias": f"{name}:{alias}", "version": number}
        try:
            pointer = readable_pointer(self.store, name, alias)
            current = 0 if pointer is None else pointer.version
            stands = self.store.standing(pointer, self.proofs.trust)
            if stands is not None and stands.version == number:
                return Cached(output)
            # From a version that can't be read any more, nothing is lost.
            readable = any(version.number == current for version in self.store.versions(name))
            if readable and not self.allow_unproved:
                if lost := self._lost(task, upstream, current):
                    return Blocked(kept(name, alias, lost))
                if states := self._unproved(name, current, number):
                    return Blocked(unproved(name, alias, current, number, states))
            self.store.set_alias(
                name, alias, number, expected=current, signer=self.signer, trust=self.proofs.trust
            )
        except BundleError as error:
            return _failed(error)
        return Built(output, 0.0)

    def _lost(self, task: Task, upstream: Upstream, current: int) -> list[str]:
        """The targets that are blocked now and that the alias's current version has."""
        blocked = {TaskId.parse(n).target for n in task.blockable if n not in upstream}
        if not blocked:
            return []
        had = targets_of(self.store, task.spec["name"], current)
        return [str(target) for target in had if target in blocked]

    def _unproved(self, name: str, current: int, number: int) -> dict[str, str]:
        """The targets validated in the version that an alias leaves and not in the one it goes to, and their
        state there."""
        old, new = (self.store.resolve(f"{name}@{n}") for n in (current, number))
        had, has = self.proofs.verdicts(old), self.proofs.verdicts(new)
        proved = [target for target, verdict in had.items() if verdict.state == "validated"]
        states = {target: has[target].state if target in has else "absent" for target in proved}
        return {str(t): state for t, state in states.items() if state != "validated"}

    def finish(self, task: Task, upstream: Upstream, outcome: Outcome) -> Outcome:
        """What becomes of a step's result here: evidence is signed, and what may not stand is a failure.

        That is a build for engines that made none, a version that this machine does not trust, and a
        validation after which the variant is not validated.
        """
        if not isinstance(outcome, Built | Cached):
            return outcome
        try:
            if task.step == "build":
                return without_engines(task, outcome, self.store) or outcome
            if task.step == "publish":
                self.proofs.bundle(version_of(task, outcome.output))
            if task.step == "validate":
                version = version_of(task, of(upstream, "publish"))
                return self.proofs.attest(version, outcome.output["evidence"]) or outcome
        except BundleError as error:
            return _failed(error)
        return outcome


def targets_of(store: Store, name: str, number: int) -> tuple[Target, ...]:
    """The targets of a published version. Raises what `Bundle.open` raises."""
    bundle = Bundle.open(store, store.resolve(f"{name}@{number}"))
    return tuple(variant.target for variant in bundle.index.variants)


def readable_pointer(store: Store, name: str, alias: str) -> Pointer | None:
    """What an alias says, untrusted; None if it does not exist or is damaged: then a move replaces it."""
    try:
        return store.pointer(name, alias)
    except FormatError:
        return None


def version_of(task: Task, published: Mapping[str, JSON]) -> Version:
    """The version in a publication's output."""
    return Version(task.spec["name"], published["version"], published["index"])


def unproved(name: str, alias: str, current: int, number: int, lost: Mapping[str, str]) -> str:
    """Why an alias stays where it is: what was proved there is not proved in the new version."""
    told = ", ".join(f"{target} ({state})" for target, state in lost.items())
    pending = next((target for target, state in lost.items() if state == "pending"), None)
    first = (
        f"run `kiln validate {name}@{number} --target {pending}` on such a machine, "
        if pending
        else ""
    )
    return (
        f"{name}:{alias} stays at version {current}, where these are validated; in version {number} they are "
        f"not: {told}; {first}then this again, or move it with --allow-unproved"
    )


def without_engines(task: Task, outcome: Built | Cached, store: Store) -> Failed | None:
    """The failure of a build that was to make engines and made none."""
    target, part = Target.parse(task.spec["target"]), outcome.output["part"]
    if target.backend == "torch" or task.spec.get("allow_torch", False):
        return None
    if any(segment["kind"] == "engine" for segment in part["segments"]):
        return None
    told = Fallback.of_report(parse_json(store.read_blob(outcome.output["report"])))
    remedy = next((reason.remedy for reason in told.reasons if reason.remedy), "")
    return Failed(
        "no-engine",
        f"{target} ended without any engine: {told}; {remedy + '; ' if remedy else ''}"
        "if that is what you want, set `allow_torch: true`",
        key=outcome.key,
    )


def _failed(error: BundleError) -> Failed:
    if isinstance(error, UntrustedError):
        return Failed("untrusted", f"{error}; then run this again")
    code = "infra" if isinstance(error, StoreError) else "publish"
    return Failed(code, f"{type(error).__name__}: {error}")
