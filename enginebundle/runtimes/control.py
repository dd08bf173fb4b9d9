"""Control flow of a torch graph: branches and loops, as torch's higher-order operators define them.

    cond(pred, yes, no, operands)                   the results of one branch
    while_loop(condition, step, carried, fixed)     the carried values once the condition is false
    scan(step, first, rows, fixed)                  the last carried values, and each step's outputs stacked
    associative_scan(combine, rows, fixed)          each row combined with all before it

`rows` are tensors that are read row by row along dimension 0. The bodies are routines that were checked
before; all the loops of one call may take `MAX_TURNS` turns together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from enginebundle.errors import FormatError, RuntimeFailure
from enginebundle.format.node import Body, Node

MAX_TURNS = 1_000_000
"""Turns that the loops of one call may take together, whatever the data say."""


SECONDS = 600.0
"""After which a call starts no further operator."""


class Turns:
    """Counts the turns of one call's loops. RuntimeFailure beyond the limit. `end`: when its time is over."""

    def __init__(self) -> None:
        self.left = MAX_TURNS
        self.end = time.monotonic() + SECONDS

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise RuntimeFailure(f"the loops of one call took more than {MAX_TURNS:,} turns")


Routine = Callable[[Sequence[Any], Turns], list[Any]]
"""A body, ready to run on its inputs."""


def _cond(turns: Turns, pred: Any, yes: Routine, no: Routine, operands: list[Any]) -> list[Any]:
    return (yes if bool(pred) else no)(operands, turns)


def _while_loop(
    turns: Turns, condition: Routine, step: Routine, carried: list[Any], fixed: list[Any]
) -> list[Any]:
    while bool(condition([*carried, *fixed], turns)[0]):
        turns.take()
        carried = step([*carried, *fixed], turns)
    return carried


def _scan(
    turns: Turns, step: Routine, first: list[Any], rows: list[Any], fixed: list[Any]
) -> list[Any]:
    carried = first
    outs: list[list[Any]] = []
    for row in _rows(rows):
        turns.take()
        made = step([*carried, *row, *fixed], turns)
        carried = made[: len(first)]
        outs.append(made[len(first) :])
    return [*carried, *_stacked(outs)]


def _associative_scan(
    turns: Turns, combine: Routine, rows: list[Any], fixed: list[Any]
) -> list[Any]:
    outs: list[list[Any]] = []
    for row in _rows(rows):
        turns.take()
        outs.append(combine([*outs[-1], *row, *fixed], turns) if outs else row)
    return _stacked(outs)


def _rows(tensors: list[Any]) -> list[list[Any]]:
    """The tensors of each step."""
    lengths = {tensor.shape[0] for tensor in tensors}
    if len(lengths) != 1 or not (length := lengths.pop()):
        raise RuntimeFailure("a scan needs tensors of one length, of at least 1")
    return [[tensor[place] for tensor in tensors] for place in range(length)]


def _stacked(outs: list[list[Any]]) -> list[Any]:
    """Each output over all steps; None where the steps give none."""
    import torch

    return [None if parts[0] is None else torch.stack(parts) for parts in zip(*outs, strict=True)]


_FUNCTIONS: Mapping[str, tuple[Callable[..., list[Any]], str]] = {
    "higher_order.cond": (_cond, "vbbl"),
    "higher_order.while_loop": (_while_loop, "bbll"),
    "higher_order.scan": (_scan, "blll"),
    "higher_order.associative_scan": (_associative_scan, "bll"),
}
"""Each operator's function, and its arguments: a value, a body or a list."""

OPERATORS = frozenset(_FUNCTIONS)
"""The operators of control flow, by torch's full names."""


def function(node: Node) -> Callable[..., list[Any]] | None:
    """What runs a node of control flow; None for another operator.

    FormatError if its arguments or its bodies' inputs and results are not those of the operator.
    """
    if node.op not in _FUNCTIONS:
        if node.bodies():
            raise FormatError(f"node {node.name}: {node.op} takes no body")
        return None
    run, kinds = _FUNCTIONS[node.op]
    given = "".join(
        "b" if isinstance(a, Body) else "l" if isinstance(a, tuple) else "v" for a in node.args
    )
    if given != kinds or node.kwargs or len(node.bodies()) != kinds.count("b"):
        raise FormatError(f"node {node.name}: {node.op} has other arguments than torch's")
    lists = [argument for argument in node.args if isinstance(argument, tuple)]
    taken = sum(map(len, lists))
    results = [len(node.outputs)] * len(node.bodies())
    if node.op == "higher_order.while_loop":
        results = [1, len(node.outputs)]
    if node.op == "higher_order.associative_scan":
        taken += len(lists[0])
    for body, count in zip(node.bodies(), results, strict=True):
        if (len(body.inputs), len(body.returns)) != (taken, count):
            raise FormatError(
                f"node {node.name}: a body of {node.op} takes {taken} values and returns {count}, "
                f"got one that takes {len(body.inputs)} and returns {len(body.returns)}"
            )
    if node.op == "higher_order.while_loop" and len(lists[0]) != len(node.outputs):
        raise FormatError(
            f"node {node.name}: a loop returns the {len(lists[0])} values that it carries"
        )
    return run
