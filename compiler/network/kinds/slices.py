"""Kinds that read or make elements at regular steps: slice, linspace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from compiler.network.emit import Emitter
from compiler.network.kind import Attributes, EvaluationError, Kind, Role, Value, method, sizes_of
from compiler.network.kinds.shapes import sizes_input
from compiler.network.network import Layer, Size, Tensor
from compiler.network.recorder import Recorder, expect, known


class Slice(Kind):
    """ISliceLayer."""

    name = "slice"
    role = Role.MOVE

    @staticmethod
    def write(
        net: Recorder, x: Tensor, start: Sequence[Size], sizes: Sequence[Size],
        stride: Sequence[Size], mode: str = "STRICT_BOUNDS", fill: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """ISliceLayer: result[i] = x[start + i * stride]; stride 0 repeats, negative reverses.

        Outside x, `mode` (a SampleMode) says what is read; `fill` is the scalar for FILL.
        """
        parts = [sizes_input(net, part) for part in (start, sizes, stride)]
        attributes: dict[str, Any] = {"mode": mode}
        for name, (static, _) in zip(("start", "sizes", "stride"), parts, strict=True):
            attributes[name] = static
        inputs = (x, *(tensor for _, tensor in parts), fill)
        return net.record(Slice, inputs, attributes, [(x.dtype, known(sizes))])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        x, *tensors = layer.inputs
        assert x is not None
        zeros = (0,) * x.ndim
        sizes = zeros if a["sizes"] is None else a["sizes"]
        added = e.net.add_slice(e.tensor(x), a["start"] or zeros, sizes, a["stride"] or zeros)
        for index, tensor in enumerate(tensors, 1):
            if tensor is not None:
                added.set_input(index, e.tensor(tensor))
        added.mode = getattr(e.trt.SampleMode, a["mode"])
        return added

    @staticmethod
    def evaluate(
        a: Attributes, x: Value, start: Value | None, sizes: Value | None, stride: Value | None,
        fill: Value | None,
    ) -> list[Value]:  # fmt: skip
        starts = sizes_of(a["start"], start)
        lengths = sizes_of(a["sizes"], sizes)
        strides = sizes_of(a["stride"], stride)
        mode = a["mode"]
        outside = torch.zeros((), dtype=torch.bool)
        result = x
        for axis, (first, length, step) in enumerate(zip(starts, lengths, strides, strict=True)):
            size = x.shape[axis]
            index = first + torch.arange(length) * step
            wrong = (index < 0) | (index >= size)
            if mode == "STRICT_BOUNDS" and bool(wrong.any()):
                raise EvaluationError(
                    f"slice of size {size} reads index {index[wrong][0].item()} on axis {axis}"
                )
            if mode == "FILL":
                outside = outside | wrong.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
            if mode == "FILL" and size == 0:
                shape = (*result.shape[:axis], length, *result.shape[axis + 1 :])
                result = result.new_zeros(shape)
            else:
                result = result.index_select(axis, _within(index, size, mode))
        if mode == "FILL":
            value = fill if fill is not None else torch.zeros((), dtype=x.dtype)
            result = torch.where(outside, value.to(x.dtype), result)
        return [result.contiguous()]


class Linspace(Kind):
    """IFillLayer, LINSPACE."""

    name = "linspace"

    @staticmethod
    def write(net: Recorder, size: Size, start: Tensor, step: Tensor) -> Tensor:
        """IFillLayer LINSPACE of one dimension: start + i * step; both 0-dimensional, of one dtype."""
        expect(start.dtype == step.dtype, "linspace: start and step must have one dtype")
        static, tensor = sizes_input(net, [size])
        results = [(start.dtype, known([size]))]
        return net.record(Linspace, (tensor, start, step), {"sizes": static}, results)[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        size, start, step = layer.inputs
        assert start is not None
        dims = a["sizes"] if a["sizes"] is not None else (1,)
        added = e.net.add_fill(dims, e.trt.FillOperation.LINSPACE, e.dtype(start.dtype))
        if size is not None:
            added.set_input(0, e.tensor(size))
        added.set_input(1, e.tensor(start))
        vector = e.net.add_shuffle(e.tensor(step))
        vector.reshape_dims = (1,)
        added.set_input(2, vector.get_output(0))
        return added

    @staticmethod
    def evaluate(a: Attributes, size: Value | None, start: Value, step: Value) -> list[Value]:
        (count,) = sizes_of(a["sizes"], size)
        return [(start + torch.arange(count).to(start.dtype) * step).to(start.dtype)]


def _within(index: Value, size: int, mode: str) -> Value:
    """Where a slice reads for an index outside 0 .. size - 1, by its SampleMode."""
    if mode == "WRAP":
        return index % size
    if mode == "CLAMP":
        return index.clamp(0, size - 1)
    if mode == "FILL":
        return index.clamp(0, max(size - 1, 0))
    if mode != "REFLECT":
        return index
    if size == 1:
        return torch.zeros_like(index)
    period = 2 * (size - 1)
    index = index.abs() % period
    return torch.where(index >= size, period - index, index)


KINDS: tuple[type[Kind], ...] = (Slice, Linspace)


class Slices(Recorder):
    """These kinds as methods."""

    slice = method(Slice.write)
    linspace = method(Linspace.write)
