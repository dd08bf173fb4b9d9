"""Run a Graph with torch: an interpreter that calls operators of an allow-list and nothing else.

    run = TorchGraph(graph, weights, device)       checks operators, weights and words once
    run({name: tensor}) -> {name: tensor}          pure: any number of threads may call it

A value is dropped after its last use. Any device named in the graph means the device it runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError, RuntimeFailure
from enginebundle.format.graph import Argument, Graph, Node, Ref, Word
from enginebundle.runtimes import sizes
from enginebundle.runtimes.torch_ops import ALLOWED, UNINITIALIZED

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class _Slot:
    """The position of a value among the values of a call."""

    index: int


@dataclass(frozen=True, slots=True)
class _Step:
    """One call, ready to run. `drop`: the slots that no later step reads."""

    node: Node
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[int, ...]
    drop: tuple[int, ...]


class TorchGraph:
    """A graph ready to run on one device."""

    def __init__(
        self, graph: Graph, weights: Mapping[str, torch.Tensor], device: str | torch.device = "cpu"
    ) -> None:
        """Raises FormatError (operator or word not allowed, weights that do not fit the graph)."""
        import torch

        self.graph = graph
        self.device = torch.device(device)
        names = [spec.name for spec in graph.inputs] + [weight.name for weight in graph.weights]
        names += [value.name for node in graph.nodes for value in node.outputs]
        self._slots = {name: _Slot(number) for number, name in enumerate(names)}
        self._weights = self._place(weights)
        self._storages = {_storage(tensor) for tensor in self._weights}
        self._steps = self._prepare()
        self._returns = [self._slots[name].index for name in graph.returns]

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Outputs by name. KeyError if an input is missing, RuntimeFailure if an operator fails."""
        import torch

        with torch.no_grad():
            given = [inputs[spec.name].to(self.device) for spec in self.graph.inputs]
            values: list[Any] = [*given, *self._weights]
            values += [None] * (len(self._slots) - len(values))
            for step in self._steps:
                _run(step, values)
            kept = self._storages | {_storage(tensor) for tensor in given}
            return {
                spec.name: _own(self._tensor(values[slot], spec.name), kept)
                for spec, slot in zip(self.graph.outputs, self._returns, strict=True)
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

    def _prepare(self) -> tuple[_Step, ...]:
        last: dict[str, int] = {}
        for number, node in enumerate(self.graph.nodes):
            for name in (*node.inputs(), *(value.name for value in node.outputs)):
                last[name] = number
        for name in self.graph.returns:
            last.pop(name, None)
        drops: dict[int, list[int]] = {}
        for name, number in last.items():
            drops.setdefault(number, []).append(self._slots[name].index)
        return tuple(
            _Step(
                node,
                _function(node),
                tuple(self._argument(argument) for argument in node.args),
                {name: self._argument(argument) for name, argument in node.kwargs},
                tuple(self._slots[value.name].index for value in node.outputs),
                tuple(drops.get(number, ())),
            )
            for number, node in enumerate(self.graph.nodes)
        )

    def _argument(self, argument: Argument) -> Any:
        match argument:
            case Ref(name):
                return self._slots[name]
            case Word("device", _):
                return self.device
            case Word(kind, value):
                return _word(kind, value)
            case tuple():
                return [self._argument(item) for item in argument]
        return argument


def run_graph(
    graph: Graph, weights: Mapping[str, torch.Tensor], inputs: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Run a graph once, on the CPU. Raises what TorchGraph and its call raise."""
    return TorchGraph(graph, weights)(inputs)


def _word(kind: str, value: str) -> Any:
    """The torch object of this kind and name. FormatError if there is none."""
    import torch

    kinds = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}
    found = getattr(torch, value, None)
    if kind not in kinds or not isinstance(found, kinds[kind]):
        raise FormatError(f"{kind} {value!r}: torch {torch.__version__} has none")
    return found


def _function(node: Node) -> Callable[..., Any]:
    import torch

    namespace, _, name = node.op.partition(".")
    if namespace == "sym" and (function := sizes.function(name)) is not None:
        return function
    if node.op not in ALLOWED:
        raise FormatError(
            f"node {node.name}: operator {node.op!r} is not one that a bundle may call "
            "(enginebundle/runtimes/torch_ops.py lists them)"
        )
    packet, _, overload = name.rpartition(".")
    operator = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    if operator is None:
        raise FormatError(f"node {node.name}: torch {torch.__version__} has no {node.op}")
    if node.op in UNINITIALIZED:
        return lambda *args, **kwargs: operator(*args, **kwargs).zero_()
    found: Callable[..., Any] = operator
    return found


def _run(step: _Step, values: list[Any]) -> None:
    args = [_resolve(argument, values) for argument in step.args]
    kwargs = {name: _resolve(argument, values) for name, argument in step.kwargs.items()}
    try:
        result = step.function(*args, **kwargs)
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RuntimeFailure(f"{step.node.op} ({step.node.name}) failed: {first}") from error
    results: Sequence[Any] = result if isinstance(result, tuple | list) else (result,)
    if len(results) != len(step.outputs):
        raise RuntimeFailure(
            f"{step.node.op} ({step.node.name}): expected {len(step.outputs)} results, "
            f"got {len(results)}"
        )
    for slot, value in zip(step.outputs, results, strict=True):
        values[slot] = value
    for slot in step.drop:
        values[slot] = None


def _resolve(argument: Any, values: list[Any]) -> Any:
    if isinstance(argument, _Slot):
        return values[argument.index]
    if isinstance(argument, list):
        return [_resolve(item, values) for item in argument]
    return argument


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _own(tensor: torch.Tensor, kept: set[int]) -> torch.Tensor:
    """The tensor, or a copy if writing into it would change a weight or the caller's input."""
    return tensor.clone() if _storage(tensor) in kept else tensor
