"""The kind that repeats a network: loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from compiler.network.emit import Emitter, LayerOutputs
from compiler.network.evaluate import evaluate
from compiler.network.kind import Attributes, Kind, Value, method
from compiler.network.network import Layer, Network, Tensor
from compiler.network.recorder import Recorder, expect

N = TypeVar("N", bound=Recorder)


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
        for old, new in zip(state, made, strict=True):
            expect(old.dtype == new.dtype and old.ndim == new.ndim, f"loop: {old} becomes {new}")
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


KINDS: tuple[type[Kind], ...] = (Loop,)


class Loops(Recorder):
    """This kind as a method."""

    loop = method(Loop.write)
