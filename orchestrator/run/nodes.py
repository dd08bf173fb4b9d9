"""The nodes of a Ray cluster, as far as tasks care, and why none serves a label."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.run.executor import absent_here, serves
from orchestrator.worker.attempt import Attempt
from orchestrator.worker.outcome import Failed

_LOG = logging.getLogger(__name__)

LABEL = "farm/sm"
"""The label that gives a node's GPU architecture, such as `sm_90`."""


LOOK = 5.0
"""Seconds between two looks at the cluster's nodes."""
PATIENCE = 60.0
"""Seconds that a task waits in a pool without nodes, or for news of a node that died."""
ELASTIC_PATIENCE = 1800.0
"""Seconds that it waits for an autoscaler to start one."""


@dataclass
class Handed:
    """A task that was handed to Ray. `node` is empty until it starts there; `since` no node serves it,
    or its node has been missing."""

    attempt: Attempt
    since: float
    node: str = ""
    told: float = 0.0

    def given_up(self, now: float, why: str, elastic: bool) -> Failed | None:
        """How it ends if it has waited long enough; else says now and then that it waits."""
        waited = now - self.since
        if self.node:
            text = f"its node died {waited:.0f} s ago and nothing was heard since"
            return Failed("infra", text) if waited > PATIENCE else None
        if waited > (ELASTIC_PATIENCE if elastic else PATIENCE):
            return Failed("no-machine", f"waited {waited:.0f} s: {why}")
        if now - self.told > PATIENCE:
            self.told = now
            _LOG.warning("%s waits for a node: %s", self.attempt.id, why)
        return None


@dataclass(frozen=True, slots=True)
class Node:
    """A node: processors, GPUs and bytes that it offers, and the architecture of its GPUs."""

    id: str
    arch: str | None
    cpus: float
    gpus: float
    memory: int

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> Node:
        """From what `ray.nodes()` says about it."""
        resources = node["Resources"]
        return cls(
            str(node["NodeID"]),
            node.get("Labels", {}).get(LABEL),
            float(resources.get("CPU", 0.0)),
            float(resources.get("GPU", 0.0)),
            int(resources.get("memory", 0)),
        )

    def serves(self, label: str | None) -> bool:
        """Whether a task with that label can run there."""
        if label is None:
            return self.cpus > 0
        return self.arch is not None and serves(label, (self.arch,)) and self.gpus > 0


def absent(label: str | None, archs: Sequence[str], *, embedded: bool) -> str:
    """Why no node, of those whose GPUs have these architectures, serves the label."""
    if label is None:
        return (
            "no node of this cluster offers a CPU; add a worker node, or pass --elastic if the "
            "autoscaler will"
        )
    if embedded:
        return absent_here(label, archs)
    have = ", ".join(archs) or "none"
    return (
        f"no node of the pool {LABEL}={label} with a GPU in this cluster (pools with GPUs: {have}); "
        f"start one (`ray start --num-gpus 1 --labels {LABEL}={label}`), or pass --elastic if the "
        "autoscaler will"
    )
