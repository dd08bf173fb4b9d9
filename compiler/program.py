"""A Program: a frozen Graph and the tensors behind its weights.

Program(graph, weights: {name: tensor})      .digest == graph.digest (weights' bytes included)
skeleton(graph) -> its digest without the content of the weights that a refit can replace
save(program, store) -> (digest of the graph's JSON, digest of the safetensors)
load(store, graph, weights) -> Program
run(program, inputs: {name: tensor}) -> {name: tensor}     with the runtime that bundles use
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from enginebundle.errors import IntegrityError
from enginebundle.format.digest import Digest, canonical_json, digest_bytes, parse_json
from enginebundle.format.graph import Graph, Weight
from enginebundle.format.spec import TensorSpec

if TYPE_CHECKING:
    from enginebundle.storage.store import Store


@dataclass(frozen=True)
class Program:
    """An exported model as a value. `weights` holds one tensor for each of the graph's weights."""

    graph: Graph
    weights: Mapping[str, torch.Tensor]

    @property
    def digest(self) -> Digest:
        """Identity of the computation and its weights, without provenance."""
        return self.graph.digest


def weight_of(name: str, tensor: torch.Tensor, digest: Digest | None = None) -> Weight:
    """The graph's entry for a tensor: its spec, and the digest of its bytes in C order."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    spec = TensorSpec(name, dtype, tuple(tensor.shape))
    return Weight(spec, digest or digest_bytes(tensor_bytes(tensor)))


def tensor_bytes(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor in C order, without a copy if it is already contiguous."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    flat = flat.as_strided(flat.shape, (1,))  # a single element may have any stride
    return memoryview(flat.view(torch.uint8).numpy().data)


def replaceable(spec: TensorSpec) -> bool:
    """Whether an engine may get such a weight when it is opened: floats with at least one dimension.

    Single numbers and integers steer how a network is written, so they stay in it.
    """
    return spec.dtype in ("float32", "float16", "bfloat16") and bool(spec.shape)


def skeleton(graph: Graph) -> Digest:
    """The graph's digest without the content of replaceable weights: equal for all its fine-tunes."""
    weights = (replace(w, digest="") if replaceable(w.spec) else w for w in graph.weights)
    return replace(graph, weights=tuple(weights)).digest


def save(program: Program, store: Store) -> tuple[Digest, Digest]:
    """Put the graph (with origins) and the weights into the store as two blobs."""
    graph = store.put_blob(canonical_json(program.graph.to_json()))
    return graph, store.put_blob(weights_to_bytes(program.weights))


def load(store: Store, graph: Digest, weights: Digest) -> Program:
    """Read a program back; IntegrityError if the weights do not belong to the graph."""
    parsed = Graph.from_json(parse_json(store.read_blob(graph)))
    tensors = weights_from_bytes(store.read_blob(weights))
    if {w.name for w in parsed.weights} != tensors.keys():
        raise IntegrityError(f"weights {weights} do not belong to graph {graph}: names differ")
    for weight in parsed.weights:
        if weight_of(weight.name, tensors[weight.name]) != weight:
            raise IntegrityError(f"weight {weight.name!r} differs from its entry in graph {graph}")
    return Program(parsed, tensors)


def run(program: Program, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Execute the graph on the CPU with the runtime that bundles use."""
    from enginebundle.runtimes.torch_graph import run_graph

    return run_graph(program.graph, program.weights, inputs)


def weights_to_bytes(weights: Mapping[str, torch.Tensor]) -> bytes:
    """Safetensors, sorted by name. Views are copied, so that no two tensors share storage."""
    from safetensors.torch import save as to_bytes

    result: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in storages:
            tensor = tensor.clone()
        storages.add(tensor.untyped_storage().data_ptr())
        result[name] = tensor
    return bytes(to_bytes(result))


def weights_from_bytes(data: bytes) -> dict[str, torch.Tensor]:
    """The inverse of `weights_to_bytes`."""
    from safetensors.torch import load as from_bytes

    return dict(from_bytes(data))
