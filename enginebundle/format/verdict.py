"""Whether a variant is validated: the one function that decides it for the loader, `run`, `list` and docs.

The newest evidence that counts decides. What is known to be missing stands in its place as a failure,
since nobody can tell what it said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from enginebundle.format.digest import Digest
from enginebundle.format.evidence import Evidence
from enginebundle.format.spec import Target

State = Literal["validated", "failed", "pending"]


@dataclass(frozen=True, slots=True)
class Missing:
    """Evidence about `target` that a trusted key signed and that is not there.

    Its number is `sequence`, or a lower one. `why` tells how it is known.
    """

    target: Target
    sequence: int
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A variant's state; `reason` for `failed`; the evidence that decided, None if none did."""

    state: State
    reason: str = ""
    evidence: Evidence | None = None


def verdict(
    index: Digest,
    target: Target,
    evidence: Iterable[Evidence],
    arch: str | None = None,
    tensorrt: str | None = None,
    *,
    missing: Iterable[Missing] = (),
    cases: Collection[tuple[str, str]] = (),
) -> Verdict:
    """A variant's state from trusted evidence: the newest that counts decides; pending if none does.

    The newest has the highest `sequence`. Evidence from before there were numbers comes before all that has
    one, in the order of its dates; a date that is none comes first. Of equally new ones, one that failed.

    Evidence counts if it is from an architecture of the target, or from `arch`, that of the machine
    that asks: a result on an unlisted GPU proves nothing about the listed ones. An engine for more than
    the exact GPU uses other kernels on other architectures, so there only evidence from `arch` counts,
    unless the asking machine has no GPU. With `tensorrt`, only evidence measured with that version does.

    `missing` is evidence known to have been signed. If it may be newer than what decides, the variant has
    failed. `cases` are the (golden, output) pairs that a pass has to show.
    """
    anywhere = target.hardware == "exact" or arch is None
    archs = {*target.archs, arch} - {None} if anywhere else {arch}
    counted = [
        e for e in evidence
        if e.index == index and e.target == target
        and (target.backend == "torch" or e.machine.get("arch") in archs)
        and (tensorrt is None or dict(e.toolchain.versions).get("tensorrt") == tensorrt)
    ]  # fmt: skip
    newest = max(counted, key=_age, default=None)
    gone = [one for one in missing if one.target == target]
    last = max(gone, key=lambda one: one.sequence, default=None)
    if last is not None and (newest is None or last.sequence >= newest.sequence):
        return Verdict("failed", f"evidence is missing: {last.why}. Validate it again")
    if newest is None:
        return Verdict("pending")
    if why := _shortfall(newest, cases):
        return Verdict("failed", why, newest)
    return Verdict("validated", "", newest)


def _age(evidence: Evidence) -> tuple[int, datetime, bool]:
    return evidence.sequence, _time(evidence.date), not evidence.passed


def _time(text: str) -> datetime:
    """A date in UTC. The first of all if it is none."""
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)


def _shortfall(evidence: Evidence, cases: Collection[tuple[str, str]]) -> str:
    """Why this evidence does not prove a variant; empty if it does."""
    if not evidence.passed:
        return f"it did not reproduce its goldens on {evidence.date[:19]}"
    if evidence.unproved:
        return f"its evidence says that it passed, but {evidence.unproved}"
    left = set(cases) - {(case.golden, case.output) for case in evidence.cases}
    if left:
        golden, output = min(left)
        return f"its evidence lacks output {output!r} of golden {golden!r}"
    return ""
