"""Evidence: what the loader measured when it ran a variant's goldens on a machine.

Evidence is a separate document with its own signature, because it is made after the bundle, maybe on
another machine. It is about exactly one index, by digest, and one target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

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
MAX_BYTES = 16 << 20

State = Literal["validated", "failed", "pending"]


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
    """The result of all goldens of one variant on one machine. `date` is ISO 8601 in UTC."""

    index: Digest
    target: Target
    passed: bool
    machine: Mapping[str, Any]
    toolchain: Toolchain
    cases: tuple[CaseResult, ...]
    date: str

    @property
    def worst(self) -> float:
        """The largest `worst` of the cases; 0 without cases."""
        return max((case.worst for case in self.cases), default=0.0)

    def to_bytes(self) -> bytes:
        """This document as canonical JSON."""
        return canonical_json(
            {
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
        """Read a document whose signature has been checked. FormatError on anything unexpected."""
        keys = ("index", "target", "passed", "machine", "toolchain", "cases", "date")
        value = document_of(data, FORMAT, keys, MAX_BYTES)
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
        )
        check_canonical(evidence.to_bytes(), data, "evidence")
        return evidence


def state(
    index: Digest,
    target: Target,
    evidence: Iterable[Evidence],
    arch: str | None = None,
    tensorrt: str | None = None,
) -> State:
    """A variant's state from trusted evidence: the newest that counts decides; pending if none does.

    Evidence counts if it is from an architecture of the target, or from `arch`, that of the machine
    that asks: a result on an unlisted GPU proves nothing about the listed ones. An engine for more than
    the exact GPU uses other kernels on other architectures, so there only evidence from `arch` counts,
    unless the asking machine has no GPU. With `tensorrt`, only evidence measured with that version does.
    """
    anywhere = target.hardware == "exact" or arch is None
    archs = {*target.archs, arch} - {None} if anywhere else {arch}
    counted = [
        e for e in evidence
        if e.index == index and e.target == target
        and (target.backend == "torch" or e.machine.get("arch") in archs)
        and (tensorrt is None or dict(e.toolchain.versions).get("tensorrt") == tensorrt)
    ]  # fmt: skip
    if not counted:
        return "pending"
    return "validated" if max(counted, key=lambda e: e.date).passed else "failed"
