"""Run a Graph with torch: an interpreter that calls operators of an allow-list and nothing else.

    run = TorchGraph(graph, weights, device)       checks operators, weights and words once
    run({name: tensor}) -> {name: tensor}          pure: any number of threads may call it

Calls, and the bodies of control flow inside them, are run by enginebundle/runtimes/routine.py. Autocast around a
call changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError, RuntimeFailure
from enginebundle.format.graph import Graph, Ref
from enginebundle.format.node import every
from enginebundle.format.spec import TensorSpec
from enginebundle.runtimes.control import Turns
from enginebundle.runtimes.operators import NONE, Operators
from enginebundle.runtimes.routine import Routine
from enginebundle.runtimes.torch_step import Symbols, sizes_of

if TYPE_CHECKING:
    import torch

_STRIDED = ("as_strided", "sym_storage_offset", "sym_stride")
"""What tells operators apart that see a tensor's memory rather than its elements."""


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
        ops = [node.op for node in every(graph.nodes)]
        self._confined = any(word in op for op in ops for word in _STRIDED)
        placed = self._place(weights)
        self._storages = frozenset(map(_storage, placed.values()))
        shapes = {spec.name: spec.shape for spec in graph.inputs}
        returns = tuple(map(Ref, graph.returns))
        self.routine = Routine(
            shapes, graph.nodes, returns, self.device, operators, self._check_inputs, placed
        )

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Outputs by name. KeyError if an input is missing, RuntimeFailure if an operator fails, makes something
        else than the graph says, or would take more memory or time than `torch_plan` allows."""
        with _as_written():
            given = [
                self._own_memory(inputs[spec.name].to(self.device)) for spec in self.graph.inputs
            ]
            results = self.routine(given, Turns())
            theirs = [_storage(tensor) for tensor in given]
            return {
                spec.name: self._own(_tensor(value, spec.name), theirs)
                for spec, value in zip(self.graph.outputs, results, strict=True)
            }

    def _check_inputs(self, given: Sequence[Any], symbols: Symbols) -> None:
        for spec, tensor in zip(self.graph.inputs, given, strict=True):
            _check_input(spec, tensor, symbols)

    def _own_memory(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor, or a copy where its memory holds more than its elements, which the graph could see."""
        import torch

        if not self._confined:
            return tensor
        if tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size():
            return tensor
        return tensor.clone(memory_format=torch.contiguous_format)

    def _own(self, tensor: torch.Tensor, theirs: Sequence[int]) -> torch.Tensor:
        """The tensor, or a copy if writing into it would change a weight or the caller's input."""
        storage = _storage(tensor)
        return tensor.clone() if storage in self._storages or storage in theirs else tensor

    def _place(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        placed = {}
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
            placed[weight.name] = self._own_memory(tensor.detach().to(self.device))
        return placed


def run_graph(
    graph: Graph, weights: Mapping[str, torch.Tensor], inputs: Mapping[str, torch.Tensor],
    operators: Operators = NONE,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Run a graph once, on the CPU. Raises what TorchGraph and its call raise."""
    return TorchGraph(graph, weights, operators=operators)(inputs)


def _tensor(value: Any, name: str) -> torch.Tensor:
    import torch

    if not isinstance(value, torch.Tensor):
        raise RuntimeFailure(f"output {name!r}: expected a tensor, got {type(value).__name__}")
    return value


def _check_input(spec: TensorSpec, tensor: torch.Tensor, symbols: Symbols) -> None:
    size, dtype = sizes_of(spec.shape, symbols), str(tensor.dtype).removeprefix("torch.")
    fits = tensor.shape == size if size is not None else tensor.dim() == len(spec.shape)
    if dtype != spec.dtype or not fits:
        raise RuntimeFailure(
            f"input {spec.name!r} of a graph: expected {spec.dtype} {list(spec.shape)}, "
            f"got {dtype} {list(tensor.shape)}"
        )


def _as_written() -> AbstractContextManager[Any]:
    """Operators as the graph has them: no gradients, and no casts of a caller's autocast."""
    import torch

    kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    if not kinds:
        return torch.no_grad()
    stack = ExitStack()
    for kind in kinds:
        stack.enter_context(torch.autocast(kind, enabled=False))
    stack.enter_context(torch.no_grad())
    return stack


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
