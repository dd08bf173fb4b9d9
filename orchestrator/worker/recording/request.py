"""What is asked of a recording, and what to say of one that was refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Recording:
    """How to record. Nothing in the folders `apart` counts. `refuses`: what can't be recorded is stopped."""

    apart: tuple[str, ...] = ()
    refuses: bool = True

    def to_json(self, own: str) -> dict[str, Any]:
        """For a Session in the child, which has the folder `own`."""
        return {"apart": [own, *self.apart], "refuses": self.refuses}


def refused(record: Mapping[str, Any]) -> str:
    """Why a step was stopped, by its record; empty if it was not."""
    if not record["refused"] or not record["unrecorded"]:
        return ""
    return (
        f"the model's code used {', '.join(record['unrecorded'])}, and what comes from there can't be "
        "recorded, so nobody would notice when it changes; do without it while the model is made, or set "
        "`unrecorded: allow` for the model: the plan then names it as unkeyed"
    )
