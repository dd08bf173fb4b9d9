"""A TensorRT network as a frozen value: written by converters, emitted and evaluated.

Layers carry TensorRT's names and rules (`INetworkDefinition.add_*` of TensorRT 10/11 and
TensorRT-RTX 1.x). Nothing here imports TensorRT: `emit.py` replays a network into a builder,
`evaluate.py` computes it with torch on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from compiler.network.kind import Kind

Shape = tuple[int | None, ...]
"""Sizes; None for a size that is known only at run time."""


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A value in a network. `constant` holds its numbers if they are known at build time.

    `from_weights`: they are a weight of the model, or were computed from one. A converter that loses
    this mark makes a network that can't be refitted there, never a wrong one.
    """

    name: str
    dtype: torch.dtype
    shape: Shape
    constant: torch.Tensor | None = field(default=None, repr=False)
    from_weights: bool = False

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def is_static(self) -> bool:
        return None not in self.shape


Size = int | Tensor
"""One size: a number, or a 0-dimensional int64 tensor computed at run time."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer. `row` describes its kind: how it is emitted and evaluated.

    `node` names the graph node that it computes: the layer's name in the engine starts with it.
    """

    row: type[Kind]
    inputs: tuple[Tensor | None, ...]
    attributes: Mapping[str, Any]
    outputs: tuple[Tensor, ...]
    node: str

    @property
    def kind(self) -> str:
        """The name of its kind."""
        return self.row.name


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Inputs feed layers in order; `outputs` pairs each output's name with its tensor.

    `nodes` maps a graph node's values to the tensors that hold them, for finding where a wrong
    number first appears.
    """

    inputs: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    outputs: tuple[tuple[str, Tensor], ...]
    nodes: Mapping[str, Tensor]
