"""Validate a variant: run every golden as a service would, and sign what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from enginebundle.errors import FormatError, NotFoundError, NoVariantError
from enginebundle.format.evidence import CaseResult, Evidence
from enginebundle.format.index import Golden
from enginebundle.format.signing import Signer
from enginebundle.format.spec import Target, Toolchain
from enginebundle.runtimes.operators import functions
from enginebundle.runtimes.plugins import registered
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.compare import Comparison, compare
from enginebundle.serve.machine import this_machine
from enginebundle.serve.selection import MODULES, Accepted, rank
from enginebundle.serve.session import Session, read_tensors
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
    cases = tuple(case for golden in bundle.index.goldens for case in _run(session, golden))
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


def _run(session: Session, golden: Golden) -> list[CaseResult]:
    tensors = read_tensors(session.bundle, golden.blob)
    try:
        inputs = {spec.name: tensors[f"input.{spec.name}"] for spec in session.inputs}
        wanted = {spec.name: tensors[f"output.{spec.name}"] for spec in session.outputs}
    except KeyError as error:
        raise FormatError(f"golden {golden.name!r} lacks the tensor {error}") from error
    got = session(**inputs)
    tolerances = dict(session.variant.tolerances)
    return [
        _case(golden.name, name, compare(got[name], want, tolerances[name]))
        for name, want in wanted.items()
    ]


def _case(golden: str, output: str, found: Comparison) -> CaseResult:
    def number(value: float) -> float:
        return value if math.isfinite(value) else -1.0

    return CaseResult(golden, output, number(found.max_abs), number(found.worst), found.passed)
