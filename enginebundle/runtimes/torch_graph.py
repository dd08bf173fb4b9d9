"""Run a Graph with torch: an interpreter that calls operators of an allow-list and nothing else.

    run = TorchGraph(graph, weights, device)       checks operators, weights and words once
    run({name: tensor}) -> {name: tensor}          pure: any number of threads may call it

Calls, and the bodies of control flow inside them, are run by enginebundle/runtimes/routine.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError, RuntimeFailure
from enginebundle.format.graph import Graph, Ref
from enginebundle.runtimes.control import Turns
from enginebundle.runtimes.operators import NONE, Operators
from enginebundle.runtimes.routine import Routine

if TYPE_CHECKING:
    import torch


class TorchGraph:
    """A graph ready to run on one device."""

    def __init__(
        self, graph: Graph, weights: Mapping[str, torch.Tensor], device: str | torch.device = "cpu",
        operators: Operators = NONE,
    ) -> None:  # fmt: skip
        """`operators` are those that it may call besides the reviewed ones, by full name.

        Raises FormatError (operator or word not allowed, weights that do not fit the graph).
        """
        import torch

        self.graph = graph
        self.device = torch.device(device)
        names = [spec.name for spec in graph.inputs] + [weight.name for weight in graph.weights]
        self._weights = self._place(weights)
        self._storages = {_storage(tensor) for tensor in self._weights}
        returns = tuple(map(Ref, graph.returns))
        self.routine = Routine(names, graph.nodes, returns, self.device, operators)

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Outputs by name. KeyError if an input is missing, RuntimeFailure if an operator fails."""
        import torch

        with torch.no_grad():
            given = [inputs[spec.name].to(self.device) for spec in self.graph.inputs]
            results = self.routine([*given, *self._weights], Turns())
            kept = self._storages | {_storage(tensor) for tensor in given}
            return {
                spec.name: _own(self._tensor(value, spec.name), kept)
                for spec, value in zip(self.graph.outputs, results, strict=True)
            }

    def _tensor(self, value: Any, name: str) -> torch.Tensor:
        import torch

        if not isinstance(value, torch.Tensor):
            raise RuntimeFailure(f"output {name!r}: expected a tensor, got {type(value).__name__}")
        return value

    def _place(self, weights: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        placed = []
        for weight in self.graph.weights:
            tensor = weights.get(weight.name)
            if tensor is None:
                raise FormatError(f"weight {weight.name!r} of the graph is not among its weights")
            dtype = str(tensor.dtype).removeprefix("torch.")
            if (dtype, tuple(tensor.shape)) != (weight.spec.dtype, weight.spec.shape):
                raise FormatError(
                    f"weight {weight.name!r}: expected {weight.spec.dtype}{list(weight.spec.shape)}, "
                    f"got {dtype}{list(tensor.shape)}"
                )
            placed.append(tensor.detach().to(self.device))
        return placed


def run_graph(
    graph: Graph, weights: Mapping[str, torch.Tensor], inputs: Mapping[str, torch.Tensor],
    operators: Operators = NONE,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Run a graph once, on the CPU. Raises what TorchGraph and its call raise."""
    return TorchGraph(graph, weights, operators=operators)(inputs)


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _own(tensor: torch.Tensor, kept: set[int]) -> torch.Tensor:
    """The tensor, or a copy if writing into it would change a weight or the caller's input."""
    return tensor.clone() if _storage(tensor) in kept else tensor
