"""A graph of operator calls as data: what a torch segment stores and what the compiler works on.

The JSON form is a list of calls in execution order. Every value has a unique name. A call's arguments
are JSON literals, references to values, a few tagged torch words (dtype, device ...), and the bodies of
control flow. Overload names are torch's (`aten.add.Tensor`); `sym.*` calls are arithmetic on sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest, digest_json
from enginebundle.format.node import (
    SCALARS,
    Argument,
    Body,
    Node,
    Origin,
    Ref,
    Value,
    Word,
    check_calls,
    node_from_json,
    node_to_json,
    refs,
    rename,
)
from enginebundle.format.parse import fields
from enginebundle.format.spec import TensorSpec

__all__ = [
    "SCALARS", "SYM_OPS", "Argument", "Body", "Graph", "Node", "Origin", "Ref", "Value", "Weight", "Word",
    "refs", "rename",
]  # fmt: skip

SYM_OPS = (
    "add", "sub", "mul", "floordiv", "mod", "truediv", "neg", "pow", "max", "min", "eq", "ne",
    "lt", "le", "gt", "ge", "not", "and", "or", "int", "float", "ceil", "floor", "sqrt", "ite",
    "round",
)  # fmt: skip
"""Arithmetic on sizes, called as `sym.<name>`: on host numbers, never on tensors."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A stored tensor: its spec and the digest of its bytes (C order, little endian)."""

    spec: TensorSpec
    digest: Digest

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(frozen=True, slots=True)
class Graph:
    """Inputs, weights, nodes in execution order, and the outputs that a run returns."""

    inputs: tuple[TensorSpec, ...]
    weights: tuple[Weight, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[TensorSpec, ...]
    returns: tuple[str, ...]
    """The value that each of `outputs` returns. Two outputs may return the same value."""

    def __post_init__(self) -> None:
        given = [t.name for t in self.inputs] + [w.name for w in self.weights]
        known = check_calls(given, self.nodes)
        if len(self.outputs) != len(self.returns) or not set(self.returns) <= known:
            raise FormatError("graph returns values that do not exist")

    @property
    def digest(self) -> Digest:
        """The identity of the computation: it covers the weights' content, but not origins."""
        return digest_json(self.to_json(origins=False))

    def to_json(self, origins: bool = True) -> dict[str, Any]:
        return {
            "inputs": [t.to_json() for t in self.inputs],
            "weights": [w.spec.to_json() | {"digest": w.digest} for w in self.weights],
            "nodes": [node_to_json(n, origins) for n in self.nodes],
            "outputs": [t.to_json() for t in self.outputs],
            "returns": list(self.returns),
        }

    @classmethod
    def from_json(cls, value: Any) -> Graph:
        """Read a graph. FormatError names the first thing that is wrong."""
        value = fields(value, "graph", ("inputs", "weights", "nodes", "outputs", "returns"))
        try:
            weights = tuple(
                Weight(
                    TensorSpec.from_json({k: w[k] for k in ("name", "dtype", "shape")}), w["digest"]
                )
                for w in value["weights"]
            )
            return cls(
                tuple(TensorSpec.from_json(t) for t in value["inputs"]),
                weights,
                tuple(node_from_json(n) for n in value["nodes"]),
                tuple(TensorSpec.from_json(t) for t in value["outputs"]),
                tuple(value["returns"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"graph: {type(error).__name__} {error}") from error

    def without_origins(self) -> Graph:
        return replace(self, nodes=tuple(n.without_origins() for n in self.nodes))
