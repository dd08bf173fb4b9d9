"""Kinds that repeat a network: loop, scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from compiler.network.emit import Emitter, LayerOutputs
from compiler.network.evaluate import evaluate
from compiler.network.kind import Attributes, EvaluationError, Kind, Value, method
from compiler.network.network import Layer, Network, Shape, Tensor
from compiler.network.recorder import Recorder, expect

N = TypeVar("N", bound=Recorder)

Rows = tuple[Tensor, bool]
"""A tensor whose rows along axis 0 are read or written one a turn, and whether from the last to the first."""


class Loop(Kind):
    """ILoop with a fixed number of iterations."""

    name = "loop"

    @staticmethod
    def write(
        net: N, count: int, state: Sequence[Tensor],
        body: Callable[[N, Sequence[Tensor]], Sequence[Tensor]],
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """ILoop: the state after `count` iterations of `body`, which keeps dtypes and shapes.

        `body(net, state)` writes one iteration into its own network; it may read only that state and
        constants.
        """
        names = [f"{net.node or 'loop'}.{net.number()}" for _ in state]
        inner = net.inner()
        given = [inner.input(n, t.dtype, t.shape) for n, t in zip(names, state, strict=True)]
        made = body(inner, given)
        _expect_kept(state, made)
        network = inner.finish({f"{i}": tensor for i, tensor in enumerate(made)}, {})
        net.close(inner)
        results = [(t.dtype, t.shape) for t in state]
        return net.record(Loop, tuple(state), {"count": count, "body": network}, results)

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        body: Network = a["body"]
        loop = e.net.add_loop()
        limit = e.constant(torch.tensor(a["count"], dtype=torch.int64))
        loop.add_trip_limit(limit, e.trt.TripLimit.COUNT)
        state = [loop.add_recurrence(e.tensor(tensor)) for tensor in layer.inputs]
        e.inner(body, [one.get_output(0) for one in state])
        for one, (_, tensor) in zip(state, body.outputs, strict=True):
            one.set_input(1, e.tensor(tensor))
        last = e.trt.LoopOutput.LAST_VALUE
        return LayerOutputs(
            [loop.add_loop_output(one.get_output(0), last).get_output(0) for one in state]
        )

    @staticmethod
    def evaluate(a: Attributes, *state: Value) -> list[Value]:
        body: Network = a["body"]
        values = list(state)
        for _ in range(a["count"]):
            feeds = {tensor.name: v for tensor, v in zip(body.inputs, values, strict=True)}
            found = evaluate(body, feeds)
            values = [found[name] for name, _ in body.outputs]
        return values


class Scan(Kind):
    """ILoop over the rows of tensors, however many there are."""

    name = "scan"

    @staticmethod
    def write(
        net: N, rows: Sequence[Rows], count: Tensor, state: Sequence[Tensor],
        reads: Sequence[Tensor],
        body: Callable[
            [N, Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]],
            tuple[Sequence[Tensor], Sequence[Rows]],
        ],
    ) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
        """ILoop with an iterator for each of `rows`, which all have `count` along axis 0, at least one.

        `body(net, rows, state, reads)` writes one turn into its own network: from a row of each
        tensor, without axis 0, and the state it makes the next state, of the same dtypes and shapes,
        and rows to keep. It may read these, `reads` (tensors of the outer network, the same at each
        turn) and constants only. Returns the last state, and each kept row's stack along axis 0.
        """
        over = [x for x, _ in rows]
        inner = net.inner()

        def given(tensor: Tensor, shape: Shape) -> Tensor:
            name = f"{net.node or 'scan'}.{inner.number()}"
            return inner.input(name, tensor.dtype, shape)

        turn = [given(x, x.shape[1:]) for x in over]
        old = [given(x, x.shape) for x in state]
        fixed = [x if x.constant is not None else given(x, x.shape) for x in reads]
        new, kept = body(inner, turn, old, fixed)
        _expect_kept(state, new)
        made = [*new, *(x for x, _ in kept)]
        network = inner.finish({f"{i}": tensor for i, tensor in enumerate(made)}, {})
        net.close(inner)
        attributes = {
            "rows": tuple(backward for _, backward in rows),
            "kept": tuple(backward for _, backward in kept),
            "body": network,
        }
        results = [(x.dtype, x.shape) for x in state]
        results += [(x.dtype, (over[0].shape[0], *x.shape)) for x, _ in kept]
        outer = (count, *over, *state, *(x for x in reads if x.constant is None))
        found = net.record(Scan, outer, attributes, results)
        return list(found[: len(state)]), list(found[len(state) :])

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        body: Network = a["body"]
        count, *given = [e.tensor(tensor) for tensor in layer.inputs]
        loop = e.net.add_loop()
        loop.add_trip_limit(count, e.trt.TripLimit.COUNT)
        over, state, reads = _parts(a, given)
        turn = [
            loop.add_iterator(x, 0, backward).get_output(0)
            for x, backward in zip(over, a["rows"], strict=True)
        ]
        kept = [loop.add_recurrence(x) for x in state]
        e.inner(body, [*turn, *(one.get_output(0) for one in kept), *reads])
        made = [e.tensor(tensor) for _, tensor in body.outputs]
        for one, new in zip(kept, made, strict=False):
            one.set_input(1, new)
        kinds = e.trt.LoopOutput
        results = [
            loop.add_loop_output(one.get_output(0), kinds.LAST_VALUE).get_output(0) for one in kept
        ]
        for row, backward in zip(made[len(kept) :], a["kept"], strict=True):
            stack = loop.add_loop_output(row, kinds.REVERSE if backward else kinds.CONCATENATE, 0)
            stack.set_input(1, count)
            results.append(stack.get_output(0))
        return LayerOutputs(results)

    @staticmethod
    def evaluate(a: Attributes, count: Value, *given: Value) -> list[Value]:
        body: Network = a["body"]
        over, state, reads = _parts(a, given)
        stacks: list[list[Value]] = [[] for _ in a["kept"]]
        if not int(count) or any(len(x) != int(count) for x in over):
            raise EvaluationError(f"scan: {int(count)} turns over {[len(x) for x in over]} rows")
        for turn in range(int(count)):
            rows = [
                x[-1 - turn if backward else turn]
                for x, backward in zip(over, a["rows"], strict=True)
            ]
            feeds = zip((t.name for t in body.inputs), (*rows, *state, *reads), strict=True)
            found = evaluate(body, dict(feeds))
            made = [found[name] for name, _ in body.outputs]
            state = made[: len(state)]
            for stack, row in zip(stacks, made[len(state) :], strict=True):
                stack.append(row)
        ordered = zip(stacks, a["kept"], strict=True)
        return [*state, *(torch.stack(s[::-1] if backward else s) for s, backward in ordered)]


def _parts(
    a: Attributes, given: Sequence[Any]
) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """A scan's inputs after the count: what has rows, the state, what is read."""
    body: Network = a["body"]
    rows = len(a["rows"])
    end = rows + len(body.outputs) - len(a["kept"])
    return given[:rows], given[rows:end], given[end:]


def _expect_kept(state: Sequence[Tensor], made: Sequence[Tensor]) -> None:
    """NetworkError unless the next state is like this one."""
    for old, new in zip(state, made, strict=True):
        expect(old.dtype == new.dtype and old.ndim == new.ndim, f"loop: {old} becomes {new}")


KINDS: tuple[type[Kind], ...] = (Loop, Scan)


class Loops(Recorder):
    """These kinds as methods."""

    loop = method(Loop.write)
    scan = method(Scan.write)
