"""Validate a variant: run every golden as a service would, and sign what was measured."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from enginebundle.errors import NotFoundError, NoVariantError
from enginebundle.format.evidence import Evidence
from enginebundle.format.signing import Signer
from enginebundle.format.spec import Target, Toolchain
from enginebundle.runtimes.operators import functions
from enginebundle.runtimes.plugins import registered
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.goldens import replay
from enginebundle.serve.machine import this_machine
from enginebundle.serve.selection import MODULES, Accepted, rank
from enginebundle.serve.session import Session
from enginebundle.storage.ledger import attest
from enginebundle.storage.store import Store, Version
from enginebundle.storage.trust import Trust, default_signer


def run_goldens(session: Session) -> Evidence:
    """Call the session with every golden of its bundle and compare each output with the stored one.

    A difference is measured, never raised. Raises NotFoundError if the bundle has no goldens, and
    whatever a call of the session raises if the variant does not run at all.
    """
    bundle = session.bundle
    if not bundle.index.goldens:
        raise NotFoundError(f"{bundle.version} has no goldens, so nothing can be proved about it")
    cases = tuple(replay(session, bundle, session.variant))
    machine = this_machine()
    module = MODULES[session.target.backend]
    versions = {name: machine.runtime(name) for name in ("torch", module)}
    return Evidence(
        index=bundle.version.digest,
        target=session.target,
        passed=all(case.passed for case in cases),
        machine=machine.to_json(),
        toolchain=Toolchain(tuple((n, v) for n, v in versions.items() if v is not None)),
        cases=cases,
        date=datetime.now(UTC).isoformat(timespec="microseconds"),
    )


def validate(
    store: Store, version: Version, target: Target, trust: Trust | None = None,
    operators: Iterable[str] = (),
) -> Evidence:  # fmt: skip
    """Open one variant, whatever its state, and run its goldens; the evidence, not yet signed.

    `operators`: what its torch graphs may call besides the reviewed ones, as for `load`.

    Raises NotFoundError if the bundle has no such variant, NoVariantError if this machine lacks
    what the variant needs, and what `run_goldens` raises. None of these is evidence.
    """
    bundle = Bundle.open(store, version, trust)
    variant = bundle.variant(target)
    allowed = functions(operators)
    choices = rank(
        [variant], {}, this_machine(),
        allow_pending=True, target=target, plugins=registered(variant.plugins),
        operators=allowed,
    )  # fmt: skip
    if not isinstance(choices[0], Accepted):
        raise NoVariantError(f"{version} can't be validated here: {choices[0]}")
    return run_goldens(Session(bundle, variant, choices, allowed))


def validate_and_sign(
    store: Store, version: Version, target: Target, *, signer: Signer | None = None
) -> Evidence:
    """`validate`, and store the evidence, signed with `signer` or this machine's key, as the newest."""
    evidence = validate(store, version, target)
    return attest(store, version, evidence, signer or default_signer())
