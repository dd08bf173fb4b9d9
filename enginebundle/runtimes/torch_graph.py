"""Run a Graph with torch: an interpreter that calls operators of an allow-list and nothing else.

    run = TorchGraph(graph, weights, device)       checks operators, weights and words once
    run({name: tensor}) -> {name: tensor}          pure: any number of threads may call it

A value is dropped after its last use. Any device named in the graph means the device it runs on. Every result
that is read has the dtype and the size that the graph says, and autocast around a call changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError, RuntimeFailure
from enginebundle.format.graph import Argument, Graph, Node, Ref, Value, Word
from enginebundle.format.spec import TensorSpec
from enginebundle.runtimes import torch_plan
from enginebundle.runtimes.torch_plan import Plan
from enginebundle.runtimes.torch_step import (
    Result,
    Slot,
    Step,
    Symbols,
    function_of,
    learn,
    sizes_of,
    takes_device,
)

if TYPE_CHECKING:
    import torch

_PLANS = 64
"""Sizes of inputs for which plans are kept."""
_SCALARS: Mapping[str, Any] = {
    "symint": int,
    "symbool": int,
    "symfloat": (int, float),
    "none": None,
}
_STRIDED = ("as_strided", "sym_storage_offset", "sym_stride")
"""What tells operators apart that see a tensor's memory rather than its elements."""


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
        self._slots = {name: Slot(number) for number, name in enumerate(names)}
        self._here = Slot(len(names))
        self._confined = any(word in node.op for node in graph.nodes for word in _STRIDED)
        self._weights = self._place(weights)
        self._storages = {_storage(tensor) for tensor in self._weights}
        self._steps = self._prepare()
        self._returns = [self._slots[name].index for name in graph.returns]
        self._most = torch_plan.most_bytes(self.device)
        self._plans: dict[tuple[Any, ...], Plan] = {}
        self._hull: tuple[Plan, list[tuple[int, int]]] | None = None

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Outputs by name. KeyError if an input is missing, RuntimeFailure if an operator fails, makes something
        else than the graph says, or would take more memory or time than `torch_plan` allows."""
        with _as_written():
            given = [
                self._own_memory(inputs[spec.name].to(self.device)) for spec in self.graph.inputs
            ]
            plan = self._plan(given)
            values: list[Any] = self._values([*given, *self._weights], self.device)
            self._run(plan, values)
            kept = self._storages | {_storage(tensor) for tensor in given}
            return {
                spec.name: _own(self._tensor(values[slot], spec.name), kept)
                for spec, slot in zip(self.graph.outputs, self._returns, strict=True)
            }

    def _run(self, plan: Plan, values: list[Any]) -> None:
        end = time.monotonic() + torch_plan.SECONDS
        symbols = dict(plan.symbols) if plan.late else plan.symbols
        for number, step in enumerate(self._steps):
            expected, late = plan.sizes[number], number in plan.late
            if late:
                expected = torch_plan.ask(step, values, symbols, self._most)
            found = step.call(values)
            step.hold(found, expected)
            if late:
                torch_plan.settle(step, found, symbols)
            for place, result in enumerate(step.results):
                values[result.slot] = found[place]
            for slot in step.drop:
                values[slot] = None
            if time.monotonic() > end:
                raise step.failed(f"the call takes longer than {torch_plan.SECONDS:g} s")

    def _plan(self, given: list[torch.Tensor]) -> Plan:
        """What a call with inputs of these sizes will take. RuntimeFailure if it must not be made."""
        import torch

        key = tuple((tensor.shape, tensor.dtype) for tensor in given)
        if (known := self._plans.get(key)) is not None:
            return known
        symbols: Symbols = {}
        for spec, tensor in zip(self.graph.inputs, given, strict=True):
            learn(spec.shape, tensor.shape, symbols)
        for spec, tensor in zip(self.graph.inputs, given, strict=True):
            _check_input(spec, tensor, symbols)
        numbers = [size for tensor in given for size in tensor.shape]
        hull = self._hull
        if hull is not None and all(
            a <= n <= b for n, (a, b) in zip(numbers, hull[1], strict=True)
        ):
            plan = torch_plan.resized(hull[0], self._steps, symbols)
        else:
            meta = torch.device("meta")
            values = self._values([t.to(meta) for t in (*given, *self._weights)], meta)
            plan = torch_plan.make(self._steps, values, symbols, self._most)
            bounds = [(n, n) for n in numbers] if hull is None else hull[1]
            wider = [(min(n, a), max(n, b)) for n, (a, b) in zip(numbers, bounds, strict=True)]
            self._hull = plan, wider
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        self._plans[key] = plan
        return plan

    def _values(self, first: list[torch.Tensor], device: torch.device) -> list[Any]:
        return [*first, *[None] * (self._here.index - len(first)), device]

    def _own_memory(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor, or a copy where its memory holds more than its elements, which the graph could see."""
        import torch

        if not self._confined:
            return tensor
        if tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size():
            return tensor
        return tensor.clone(memory_format=torch.contiguous_format)

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
            placed.append(self._own_memory(tensor.detach().to(self.device)))
        return placed

    def _prepare(self) -> tuple[Step, ...]:
        last: dict[str, int] = {}
        read = set(self.graph.returns)
        for number, node in enumerate(self.graph.nodes):
            read.update(node.inputs())
            for name in (*node.inputs(), *(value.name for value in node.outputs)):
                last[name] = number
        for name in self.graph.returns:
            last.pop(name, None)
        drops: dict[int, list[int]] = {}
        for name, number in last.items():
            drops.setdefault(number, []).append(self._slots[name].index)
        return tuple(
            Step(
                node,
                function_of(node),
                tuple(self._argument(argument) for argument in node.args),
                self._keywords(node),
                tuple(self._result(value, value.name in read) for value in node.outputs),
                tuple(drops.get(number, ())),
            )
            for number, node in enumerate(self.graph.nodes)
        )

    def _result(self, value: Value, read: bool) -> Result:
        kind = None
        if read:
            kind = _word("dtype", value.dtype) if value.is_tensor else _SCALARS[value.dtype]
        return Result(value.name, self._slots[value.name].index, kind, value.shape)

    def _keywords(self, node: Node) -> dict[str, Any]:
        """What a node passes by name, and the device even if it names none: torch's default is another."""
        given = {name: self._argument(argument) for name, argument in node.kwargs}
        return given | ({"device": self._here} if takes_device(node) else {})

    def _argument(self, argument: Argument) -> Any:
        match argument:
            case Ref(name):
                return self._slots[name]
            case Word("device", _):
                return self._here
            case Word("layout", value) if value != "strided":
                raise FormatError(f"layout {value!r}: expected strided")
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


def _own(tensor: torch.Tensor, kept: set[int]) -> torch.Tensor:
    """The tensor, or a copy if writing into it would change a weight or the caller's input."""
    return tensor.clone() if _storage(tensor) in kept else tensor
