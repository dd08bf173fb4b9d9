"""Calls in execution order, checked and made ready to run: a torch graph, or a body inside one.

A value is dropped after its last use. Any device named in a call means the device it runs on. Every result that is
read has the dtype and the size that the graph says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError
from enginebundle.format.dims import Dim
from enginebundle.format.node import Argument, Body, Node, Ref, Value, Word, refs
from enginebundle.format.solve import learn
from enginebundle.runtimes import torch_plan
from enginebundle.runtimes.control import Turns
from enginebundle.runtimes.operators import NONE, Operators
from enginebundle.runtimes.torch_call import ready, run
from enginebundle.runtimes.torch_plan import Plan
from enginebundle.runtimes.torch_step import (
    Result,
    Slot,
    Step,
    Symbols,
    function_of,
    guarded,
    resolve,
    takes_device,
)

if TYPE_CHECKING:
    import torch

Shapes = Mapping[str, tuple[Dim, ...]]
Check = Callable[[Sequence[Any], Symbols], None]

_PLANS = 64
"""Sizes of inputs for which plans are kept."""
_SCALARS: Mapping[str, Any] = {
    "symint": int,
    "symbool": int,
    "symfloat": (int, float),
    "none": None,
}


class Routine:
    """Calls on named values. Raises FormatError for an operator or a word that is not allowed."""

    def __init__(
        self, inputs: Shapes, nodes: Sequence[Node], returns: tuple[Argument, ...],
        device: torch.device, operators: Operators = NONE, check: Check = lambda given, symbols: None,
        constants: Mapping[str, torch.Tensor] | None = None,
    ) -> None:  # fmt: skip
        """`inputs`: names and shapes. `operators` are those that it may call besides the reviewed ones.

        `check` raises RuntimeFailure for inputs that it must not run with; asked once for each of their sizes.
        `constants` are values by name, the same in every call.
        """
        self.device = device
        self._operators, self._check = operators, check
        fixed = constants or {}
        self._constants = list(fixed.values())
        names = [*inputs, *fixed, *(value.name for node in nodes for value in node.outputs)]
        self.slots = {name: Slot(number) for number, name in enumerate(names)}
        self._here = Slot(len(names))
        self._shapes = tuple(inputs.values())
        self.steps = self._prepare(nodes, returns, fixed)
        self._returns = [self._argument(argument) for argument in returns]
        self._most = torch_plan.most_bytes(device)
        self._plans: dict[tuple[Any, ...], Plan] = {}
        self._hull: tuple[Plan, list[tuple[int, int]]] | None = None
        calls = [ready(step) for step in self.steps]
        self._run = guarded(partial(run, calls, self.steps), self.steps)
        self._rest = self._values((), device)

    def __call__(self, given: Sequence[Any], turns: Turns) -> list[Any]:
        """The returned values. RuntimeFailure if an operator fails, makes something else than the graph says, or
        would take more memory or time than `torch_plan` allows."""
        plan = self._plan(given)
        values = [*given, *self._rest]
        self._run(values, plan, self._most, turns)
        return [resolve(argument, values) for argument in self._returns]

    def _plan(self, given: Sequence[Any]) -> Plan:
        """What a call with inputs of these sizes will take. RuntimeFailure if it must not be made."""
        import torch

        key = tuple([(v.shape, v.dtype) if isinstance(v, torch.Tensor) else v for v in given])
        if (known := self._plans.get(key)) is not None:
            return known
        tensors = [value for value in given if isinstance(value, torch.Tensor)]
        symbols: Symbols = {}
        for shape, value in zip(self._shapes, given, strict=True):
            learn(shape, getattr(value, "shape", ()), symbols)
        self._check(given, symbols)
        numbers = [size for tensor in tensors for size in tensor.shape]
        hull = self._hull if len(tensors) == len(given) else None
        if hull is not None and all(
            a <= n <= b for n, (a, b) in zip(numbers, hull[1], strict=True)
        ):
            plan = torch_plan.resized(hull[0], self.steps, symbols)
        else:
            meta = torch.device("meta")
            there = [v.to(meta) if isinstance(v, torch.Tensor) else v for v in given]
            plan = torch_plan.make(self.steps, self._values(there, meta), symbols, self._most)
            bounds = [(n, n) for n in numbers] if hull is None else hull[1]
            wider = [(min(n, a), max(n, b)) for n, (a, b) in zip(numbers, bounds, strict=True)]
            self._hull = plan, wider
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        self._plans[key] = plan
        return plan

    def _values(self, first: Sequence[Any], device: torch.device) -> list[Any]:
        """These, the constants, nothing yet for each result, and the device."""
        constants = [value.to(device) for value in self._constants]
        results = sum(len(step.results) for step in self.steps)
        return [*first, *constants, *[None] * results, device]

    def _prepare(
        self, nodes: Sequence[Node], returns: tuple[Argument, ...], constants: Collection[str]
    ) -> tuple[Step, ...]:
        last: dict[str, int] = {}
        read = {ref.name for ref in refs(returns)}
        kept = read | set(constants)
        for number, node in enumerate(nodes):
            read.update(node.inputs())
            for name in (*node.inputs(), *(value.name for value in node.outputs)):
                last[name] = number
        drops: dict[int, list[int]] = {}
        for name, number in last.items():
            if name not in kept:
                drops.setdefault(number, []).append(self.slots[name].index)
        return tuple(
            Step(
                node,
                function_of(node, self._operators),
                tuple(self._argument(argument) for argument in node.args),
                self._keywords(node),
                tuple(self._result(value, value.name in read) for value in node.outputs),
                tuple(drops.get(number, ())),
            )
            for number, node in enumerate(nodes)
        )

    def _result(self, value: Value, read: bool) -> Result:
        kind = None
        if read:
            kind = _word("dtype", value.dtype) if value.is_tensor else _SCALARS[value.dtype]
        return Result(value.name, self.slots[value.name].index, kind, value.shape)

    def _keywords(self, node: Node) -> dict[str, Any]:
        """What a node passes by name, and the device even if it names none: torch's default is another."""
        given = {name: self._argument(argument) for name, argument in node.kwargs}
        return given | ({"device": self._here} if takes_device(node) else {})

    def _argument(self, argument: Argument) -> Any:
        match argument:
            case Ref(name):
                return self.slots[name]
            case Word("device", _):
                return self._here
            case Word("layout", value) if value != "strided":
                raise FormatError(f"layout {value!r}: expected strided")
            case Word(kind, value):
                return _word(kind, value)
            case Body(inputs, nodes, returns):
                shapes = {value.name: value.shape for value in inputs}
                return Routine(shapes, nodes, returns, self.device, self._operators)
            case tuple():
                return [self._argument(item) for item in argument]
        return argument


def _word(kind: str, value: str) -> Any:
    """The torch object of this kind and name. FormatError if there is none."""
    import torch

    kinds = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}
    found = getattr(torch, value, None)
    if kind not in kinds or not isinstance(found, kinds[kind]):
        raise FormatError(f"{kind} {value!r}: torch {torch.__version__} has none")
    return found
