"""Calls in execution order, checked and made ready to run: a torch graph, or a body inside one.

A value is dropped after its last use. Any device named in a call means the device it runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError, RuntimeFailure
from enginebundle.format.node import Argument, Body, Node, Ref, Word, refs
from enginebundle.runtimes import control, sizes
from enginebundle.runtimes.operators import NONE, Operators
from enginebundle.runtimes.torch_ops import ALLOWED, UNINITIALIZED

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Slot:
    """The position of a value among the values of a call."""

    index: int


@dataclass(frozen=True, slots=True)
class Step:
    """One call, ready to run. `drop`: the slots that no later step reads."""

    node: Node
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[int, ...]
    drop: tuple[int, ...]
    turns: bool
    """Whether the function counts turns: its first argument is the call's counter."""


class Routine:
    """Calls on named values. Raises FormatError for an operator or a word that is not allowed."""

    def __init__(
        self, inputs: Sequence[str], nodes: Sequence[Node], returns: tuple[Argument, ...],
        device: torch.device, operators: Operators = NONE,
    ) -> None:  # fmt: skip
        """`operators` are those that it may call besides the reviewed ones."""
        self.device = device
        self.operators = operators
        names = [*inputs, *(value.name for node in nodes for value in node.outputs)]
        self.slots = {name: Slot(number) for number, name in enumerate(names)}
        self.steps = self._prepare(nodes, returns)
        self._returns = [self._argument(argument) for argument in returns]

    def __call__(self, given: Sequence[Any], turns: control.Turns) -> list[Any]:
        """The returned values. RuntimeFailure if an operator fails."""
        values = [*given, *[None] * (len(self.slots) - len(given))]
        for step in self.steps:
            _run(step, values, turns)
        return [_resolve(argument, values) for argument in self._returns]

    def _prepare(self, nodes: Sequence[Node], returns: tuple[Argument, ...]) -> tuple[Step, ...]:
        last: dict[str, int] = {}
        for number, node in enumerate(nodes):
            for name in (*node.inputs(), *(value.name for value in node.outputs)):
                last[name] = number
        for ref in refs(returns):
            last.pop(ref.name, None)
        drops: dict[int, list[int]] = {}
        for name, number in last.items():
            drops.setdefault(number, []).append(self.slots[name].index)
        return tuple(
            Step(
                node,
                _function(node, self.operators),
                tuple(self._argument(argument) for argument in node.args),
                {name: self._argument(argument) for name, argument in node.kwargs},
                tuple(self.slots[value.name].index for value in node.outputs),
                tuple(drops.get(number, ())),
                node.op in control.OPERATORS,
            )
            for number, node in enumerate(nodes)
        )

    def _argument(self, argument: Argument) -> Any:
        match argument:
            case Ref(name):
                return self.slots[name]
            case Word("device", _):
                return self.device
            case Word(kind, value):
                return _word(kind, value)
            case Body(inputs, nodes, returns):
                names = [value.name for value in inputs]
                return Routine(names, nodes, returns, self.device, self.operators)
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


def _function(node: Node, operators: Operators) -> Callable[..., Any]:
    import torch

    if (flow := control.function(node)) is not None:
        return flow
    namespace, _, name = node.op.partition(".")
    if namespace == "sym" and (function := sizes.function(name)) is not None:
        return function
    if (own := operators.get(node.op)) is not None:
        return own
    if node.op not in ALLOWED:
        raise FormatError(
            f"node {node.name}: operator {node.op!r} is not one that a bundle may call "
            "(enginebundle/runtimes/torch_ops.py lists them; load(..., operators=...) allows others by name)"
        )
    packet, _, overload = name.rpartition(".")
    operator = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    if operator is None:
        raise FormatError(f"node {node.name}: torch {torch.__version__} has no {node.op}")
    if node.op in UNINITIALIZED:
        return lambda *args, **kwargs: operator(*args, **kwargs).zero_()
    found: Callable[..., Any] = operator
    return found


def _run(step: Step, values: list[Any], turns: control.Turns) -> None:
    args = [_resolve(argument, values) for argument in step.args]
    kwargs = {name: _resolve(argument, values) for name, argument in step.kwargs.items()}
    if step.turns:
        args.insert(0, turns)
    try:
        result = step.function(*args, **kwargs)
    except RuntimeFailure:
        raise  # it names the call inside a body
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
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
    if isinstance(argument, Slot):
        return values[argument.index]
    if isinstance(argument, list):
        return [_resolve(item, values) for item in argument]
    return argument
