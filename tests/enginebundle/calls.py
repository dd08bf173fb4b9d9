"""Graphs of one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from enginebundle.format.graph import Argument, Graph, Node, Value
from enginebundle.format.spec import TensorSpec


def call(
    op: str,
    *args: Argument,
    given: Mapping[str, torch.Tensor] | None = None,
    made: Sequence[torch.Tensor] = (torch.ones(3),),
    **kwargs: Argument,
) -> Graph:
    """A graph of one call on tensors like `given`, that returns all its outputs, like `made`."""
    specs = tuple(spec(f"out.{i}", tensor) for i, tensor in enumerate(made))
    values = tuple(Value(one.name, one.dtype, one.shape) for one in specs)
    node = Node(op, args, tuple(kwargs.items()), values)
    tensors = {name: (given or {}).get(name, torch.ones(3)) for name in node.inputs()}
    inputs = tuple(spec(name, tensor) for name, tensor in tensors.items())
    return Graph(inputs, (), (node,), specs, tuple(value.name for value in values))


def spec(name: str, tensor: torch.Tensor) -> TensorSpec:
    return TensorSpec(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
