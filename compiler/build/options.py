"""What a builder is asked for besides the network, and what it answers: an engine or a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from compiler.build.effort import DEFAULT
from compiler.refused import Refused
from enginebundle.format.spec import Profile


class BuildRefused(Refused):
    """TensorRT did not build; `node` is the graph node that failed, if it is known.

    Codes: `not_installed`, `architecture`, `no_gpu`, `compatibility`, `layer`, `builder`, `demotions`,
    `refit`, `cancelled`, `died` (the process that built).
    """

    def __init__(self, code: str, message: str, remedy: str, node: str = "") -> None:
        super().__init__(code, message, remedy)
        self.node = node


@dataclass(frozen=True)
class EngineOptions:
    """What the builder needs besides the network.

    Attributes:
        profiles: each becomes an optimization profile, in this order.
        tf32: let float32 products use TF32 units (10-bit mantissas).
        capabilities: `sm_NN` names that one engine must run on; empty means this machine's GPU.
        effort: of `effort.EFFORTS`; TensorRT-RTX has no use for it.
        hardware: on which other GPUs it opens, one of `enginebundle.format.spec.HARDWARE`.
        version_compatible: later versions of TensorRT open it, too.
        refit: build without the weights that `bindings` name, to be supplied when it is opened.
    """

    profiles: tuple[Profile, ...]
    tf32: bool = False
    capabilities: tuple[str, ...] = ()
    hardware: str = "exact"
    version_compatible: bool = False
    effort: str = DEFAULT
    refit: bool = False

    @property
    def without_sizes(self) -> dict[str, Any]:
        """What the timing of a layer may depend on besides the layer. TensorRT is given no capabilities."""
        names = [f.name for f in fields(self) if f.name not in ("profiles", "capabilities")]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Made:
    """A serialized engine, and what its build depended on besides the options (`Aid.notes`)."""

    engine: memoryview
    notes: Mapping[str, Any] = field(default_factory=dict)
