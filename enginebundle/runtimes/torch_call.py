"""The calls of a torch graph, with their arguments laid out beforehand: a small operator takes no longer than
finding them would.

    calls = [ready(step) for step in steps]
    run(calls, steps, values, plan, most, turns)    all of them, each held to what the plan says
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from enginebundle.runtimes import control, torch_plan
from enginebundle.runtimes.control import OPERATORS, Turns
from enginebundle.runtimes.torch_plan import Plan
from enginebundle.runtimes.torch_step import Slot, Step, resolve


@dataclass(frozen=True, slots=True)
class Call:
    """`make`: values and turns to what the operator returns. `slot` and `kind` are of its one result; -1 if it has
    none, several, or a number."""

    make: Callable[[Sequence[Any], Turns], Any]
    slot: int
    kind: Any
    drop: tuple[int, ...]


def ready(step: Step) -> Call:
    """The step's call."""
    (only,) = step.results if len(step.results) == 1 else (None,)
    simple = only is not None and not isinstance(only.kind, type | tuple | None)
    slot, kind = (only.slot, only.kind) if simple and only is not None else (-1, None)
    return Call(_maker(step), slot, kind, step.drop)


def run(
    calls: Sequence[Call], steps: Sequence[Step], values: list[Any], plan: Plan, most: int, turns: Turns,
    at: list[int],
) -> None:  # fmt: skip
    """Make all calls on `values`; under `torch_step.guarded`, which `at` is for.

    RuntimeFailure if one returns something else than the graph says, would take more than `most` bytes where only
    data tell, or the time is over.
    """
    now, end, late, symbols = time.monotonic, turns.end, plan.late, dict(plan.symbols)
    for number, call in enumerate(calls):
        sizes = plan.sizes[number]
        if late and number in late:
            at[0] = ~number
            sizes = torch_plan.ask(steps[number], values, symbols, most)
        at[0] = number
        found = call.make(values, turns)
        slot = call.slot
        # The common case first: this runs after every operator.
        if slot >= 0 and getattr(found, "dtype", None) is call.kind and found.shape == sizes[0]:
            values[slot] = found
        else:
            at[0] = ~number
            step = steps[number]
            made = step.settled(found, sizes)
            for result, value in zip(step.results, made, strict=True):
                values[result.slot] = value
            if number in late:
                torch_plan.settle(step, made, symbols)
        for slot in call.drop:
            values[slot] = None
        if now() > end:
            at[0] = ~number
            raise steps[number].failed(f"the call takes longer than {control.SECONDS:g} s")


def _maker(step: Step) -> Callable[[Sequence[Any], Turns], Any]:
    function, args, kwargs = step.function, step.args, step.kwargs
    slots = [argument.index for argument in args if isinstance(argument, Slot)]
    rest = args[len(slots) :]
    first = all(isinstance(argument, Slot) for argument in args[: len(slots)])
    in_turns = step.node.op in OPERATORS
    if not in_turns and first and not any(map(_reads, [*rest, *kwargs.values()])):
        if len(slots) == 1:
            (a,) = slots
            return lambda values, _: function(values[a], *rest, **kwargs)
        if len(slots) == 2:
            a, b = slots
            return lambda values, _: function(values[a], values[b], *rest, **kwargs)
        if len(slots) == 3:
            a, b, c = slots
            return lambda values, _: function(values[a], values[b], values[c], *rest, **kwargs)

    def make(values: Sequence[Any], turns: Turns) -> Any:
        given = [resolve(argument, values) for argument in args]
        named = {name: resolve(argument, values) for name, argument in kwargs.items()}
        return function(turns, *given, **named) if in_turns else function(*given, **named)

    return make


def _reads(argument: Any) -> bool:
    """Whether it holds a slot."""
    return isinstance(argument, Slot) or (isinstance(argument, list) and any(map(_reads, argument)))
