"""Evidence: what the loader measured when it ran a variant's goldens on a machine.

Evidence is a separate document with its own signature, because it is made after the bundle, maybe on
another machine. It is about exactly one index, by digest, and one target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest, canonical_json
from enginebundle.format.parse import (
    array,
    check_canonical,
    digest,
    document_of,
    fields,
    flag,
    number,
    text,
)
from enginebundle.format.spec import Target, Toolchain

FORMAT = "enginebundle.evidence/1"
MAX_BYTES = 4 << 20
LAST = 2**53 - 1
"""The highest sequence number: the largest integer that every reader of JSON keeps exactly."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One output of one golden.

    `max_abs`: the largest |got - want|. `worst`: the largest |got - want| / (atol + rtol * |want|);
    at most 1 passes. Both are -1.0 if there is no such number (wrong shape or dtype, a NaN or infinity
    on one side only).
    """

    golden: str
    output: str
    max_abs: float
    worst: float
    passed: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "golden": self.golden,
            "output": self.output,
            "max_abs": self.max_abs,
            "worst": self.worst,
            "passed": self.passed,
        }

    @classmethod
    def from_json(cls, value: Any) -> CaseResult:
        value = fields(value, "case", ("golden", "output", "max_abs", "worst", "passed"))
        return cls(
            text(value["golden"], "golden"),
            text(value["output"], "output"),
            number(value["max_abs"], "max_abs"),
            number(value["worst"], "worst"),
            flag(value["passed"], "passed"),
        )


@dataclass(frozen=True)
class Evidence:
    """The result of all goldens of one variant on one machine.

    `date` is ISO 8601 in UTC, for people. `sequence` orders all evidence about one variant: whoever signs
    counts on from the highest number that the store shows; 0 only before there were numbers. `previous` is
    the digest of the evidence about this variant that the same key signed before; None for the first. Their
    JSON leaves out 0 and None.
    """

    index: Digest
    target: Target
    passed: bool
    machine: Mapping[str, Any]
    toolchain: Toolchain
    cases: tuple[CaseResult, ...]
    date: str
    sequence: int = 0
    previous: Digest | None = None

    @property
    def measured(self) -> Evidence:
        """What was measured, without its place among other evidence."""
        return replace(self, sequence=0, previous=None)

    @property
    def worst(self) -> float:
        """The largest `worst` of the cases; 0 without cases."""
        return max((case.worst for case in self.cases), default=0.0)

    @property
    def unproved(self) -> str:
        """Why the cases do not show that the variant passed; empty if they do."""
        if not self.cases:
            return "it has no cases"
        bad = [case for case in self.cases if not (case.passed and 0 <= case.worst <= 1)]
        if bad:
            return f"output {bad[0].output!r} of golden {bad[0].golden!r} did not: {bad[0].worst:g} of 1"
        return ""

    def to_bytes(self) -> bytes:
        """This document as canonical JSON."""
        place = {"sequence": self.sequence} if self.sequence else {}
        link = {} if self.previous is None else {"previous": self.previous}
        return canonical_json(
            place
            | link
            | {
                "format": FORMAT,
                "index": self.index,
                "target": str(self.target),
                "passed": self.passed,
                "machine": dict(self.machine),
                "toolchain": self.toolchain.to_json(),
                "cases": [case.to_json() for case in self.cases],
                "date": self.date,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Evidence:
        """Read a document whose signature has been checked. FormatError on anything unexpected, and on
        evidence that says `passed` although its cases do not show it."""
        keys = ("index", "target", "passed", "machine", "toolchain", "cases", "date")
        value = document_of(data, FORMAT, keys, MAX_BYTES, ("sequence", "previous"))
        if not isinstance(value["machine"], dict):
            raise FormatError("evidence: machine must be an object")
        evidence = cls(
            digest(value["index"], "index"),
            Target.parse(text(value["target"], "target")),
            flag(value["passed"], "passed"),
            value["machine"],
            Toolchain.from_json(value["toolchain"]),
            array(value["cases"], "cases", CaseResult.from_json),
            text(value["date"], "date"),
            _sequence(value.get("sequence", 0)),
            digest(value["previous"], "previous") if "previous" in value else None,
        )
        if evidence.passed and (why := evidence.unproved):
            raise FormatError(f"evidence for {evidence.target} says that it passed, but {why}")
        check_canonical(evidence.to_bytes(), data, "evidence")
        return evidence


def _sequence(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= LAST:
        raise FormatError(f"sequence: expected a number of 0 to {LAST}, got {value!r}")
    return value
