"""What of a part runs in torch although its target has engines, and why: for people, who want to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from enginebundle.errors import FormatError
from enginebundle.format.parse import array, fields, text

MOST = 20
"""So many reasons are kept, the most frequent ones."""
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Reason:
    """Why `count` nodes of one operator stay in torch: a code, what was found, and what would help."""

    op: str
    count: int
    code: str
    detail: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.count} x {self.op} ({self.code}: {self.detail})"

    @classmethod
    def from_json(cls, value: Any) -> Reason:
        value = fields(value, "reason", ("op", "count", "code", "detail", "remedy"))
        return cls(
            text(value["op"], "op"),
            _count(value["count"]),
            text(value["code"], "code"),
            text(value["detail"], "detail"),
            text(value["remedy"], "remedy"),
        )


@dataclass(frozen=True, slots=True)
class Fallback:
    """How many nodes of a part are in engines and how many in torch, and the reasons, most frequent first."""

    engine: int
    torch: int
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        told = "; ".join(map(str, self.reasons[:3])) or "no reason is known"
        more = f"; and {len(self.reasons) - 3} more reasons" if len(self.reasons) > 3 else ""
        return f"{self.torch} of {self.engine + self.torch} nodes run in torch: {told}{more}"

    def to_json(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "torch": self.torch,
            "reasons": [asdict(reason) for reason in self.reasons],
        }

    @classmethod
    def from_json(cls, value: Any) -> Fallback:
        value = fields(value, "fallback", ("engine", "torch", "reasons"))
        return cls(
            _count(value["engine"]),
            _count(value["torch"]),
            array(value["reasons"], "reasons", Reason.from_json),
        )

    @classmethod
    def of_report(cls, report: Mapping[str, Any]) -> Fallback:
        """From a partition's report as JSON."""
        groups: Sequence[Mapping[str, Any]] = report["reasons"]
        reasons = [
            Reason(
                group["op"], group["count"], group["code"],
                group["detail"][:_LONGEST], group["remedy"][:_LONGEST],
            )
            for group in groups[:MOST]
        ]  # fmt: skip
        return cls(report["engine_nodes"], report["torch_nodes"], tuple(reasons))


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise FormatError(f"fallback: expected a number of at least 0, got {value!r}")
    return value
