"""Kinds that compute along axes: reduce, softmax, normalization, cumulative, topk."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from compiler.network.emit import Emitter, LayerOutputs
from compiler.network.kind import Attributes, Kind, Role, Value, accumulated_wide, method
from compiler.network.kinds.elementwise import Elementwise
from compiler.network.kinds.shapes import size, sizes
from compiler.network.kinds.slices import Slice
from compiler.network.network import Layer, Size, Tensor
from compiler.network.recorder import FLOATS, Recorder, expect, resized

REDUCE: dict[str, Callable[[Value, tuple[int, ...], bool], Value]] = {
    "SUM": lambda x, d, k: x.sum(d, keepdim=k),
    "AVG": lambda x, d, k: x.mean(d, keepdim=k),
    "MAX": lambda x, d, k: _extreme(x, d, k, -math.inf),
    "MIN": lambda x, d, k: _extreme(x, d, k, math.inf),
    "PROD": lambda x, d, k: _product(x, d, k),
}
"""Members of ReduceOperation."""


LONGEST = 31
"""As many doublings of 1 as any axis may need: TensorRT's sizes are less than 2**31."""


class Reduce(Kind):
    """IReduceLayer."""

    name = "reduce"
    role = Role.REDUCTION

    @staticmethod
    def write(net: Recorder, x: Tensor, op: str, axes: Sequence[int], keep: bool) -> Tensor:
        """IReduceLayer over non-negative axes; AVG wants floats."""
        expect(x.dtype != torch.bool, "reduce: TensorRT does not reduce bool")
        expect(
            bool(axes) and all(0 <= a < x.ndim for a in axes),
            f"reduce: axes {axes} of rank {x.ndim}",
        )
        chosen = set(axes)
        shape = tuple(
            1 if i in chosen else n for i, n in enumerate(x.shape) if keep or i not in chosen
        )
        if any(x.shape[axis] == 0 for axis in chosen):
            lengths = [1 if i in chosen else size(net, x, i) for i in range(x.ndim)]
            kept = [n for i, n in enumerate(lengths) if keep or i not in chosen]
            return _of_nothing(net, op, x.dtype, kept)
        attributes = {"op": op, "axes": tuple(sorted(chosen)), "keep": keep}
        return net.record(Reduce, (x,), attributes, [(x.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        op = getattr(e.trt.ReduceOperation, a["op"])
        return e.net.add_reduce(e.tensor(layer.inputs[0]), op, _mask(a["axes"]), a["keep"])

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, x: Value) -> Value:
        return REDUCE[a["op"]](x, a["axes"], a["keep"])


class Softmax(Kind):
    """ISoftMaxLayer."""

    name = "softmax"
    role = Role.REDUCTION

    @staticmethod
    def write(net: Recorder, x: Tensor, axis: int) -> Tensor:
        """ISoftMaxLayer along one axis."""
        expect(x.dtype in FLOATS, f"softmax wants floats, got {x.dtype}")
        return net.record(Softmax, (x,), {"axis": axis}, [(x.dtype, x.shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        added = e.net.add_softmax(e.tensor(layer.inputs[0]))
        added.axes = _mask([a["axis"]])
        return added

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, x: Value) -> Value:
        return torch.softmax(x, a["axis"])


class Normalization(Kind):
    """INormalizationLayer (v2)."""

    name = "normalization"
    role = Role.REDUCTION

    @staticmethod
    def write(
        net: Recorder, x: Tensor, scale: Tensor, bias: Tensor, axes: Sequence[int], epsilon: float,
        groups: int = 1,
    ) -> Tensor:  # fmt: skip
        """INormalizationLayer (v2): (x - mean) / sqrt(var + epsilon) * scale + bias over `axes`.

        Layer norm: scale and bias have rank of x, size 1 outside `axes`. Group norm: groups > 1
        or axes = spatial dims, scale and bias [1, C, 1, ...].
        """
        attributes = {"axes": tuple(axes), "epsilon": float(epsilon), "groups": groups}
        return net.record(Normalization, (x, scale, bias), attributes, [(x.dtype, x.shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        x, scale, bias = (e.tensor(t) for t in layer.inputs)
        v2 = e.has("add_normalization_v2")
        add = e.net.add_normalization_v2 if v2 else e.net.add_normalization
        if v2 or a["groups"] == 1:
            added = add(x, scale, bias, _mask(a["axes"]))
            added.epsilon, added.num_groups = a["epsilon"], a["groups"]
            return added
        # Version 1 scales each group, not each channel: scale by 1 there, and each channel below.
        first = layer.outputs[0]
        neutral = torch.tensor([1, 0], dtype=first.dtype)
        one, zero = (e.constant(n.expand(1, a["groups"], *[1] * (first.ndim - 2))) for n in neutral)
        added = add(x, one, zero, _mask(a["axes"]))
        added.epsilon, added.num_groups = a["epsilon"], a["groups"]
        op = e.trt.ElementWiseOperation
        scaled = e.net.add_elementwise(added.get_output(0), scale, op.PROD)
        return e.net.add_elementwise(scaled.get_output(0), bias, op.SUM)

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, x: Value, scale: Value, bias: Value) -> Value:
        axes, grouped = a["axes"], x
        if a["groups"] > 1:
            axes, grouped = (2,), x.reshape(x.shape[0], a["groups"], -1)
        mean = grouped.mean(axes, keepdim=True)
        variance = ((grouped - mean) ** 2).mean(axes, keepdim=True)
        normal = ((grouped - mean) / torch.sqrt(variance + a["epsilon"])).reshape(x.shape)
        return normal * scale + bias


class Cumulative(Kind):
    """ICumulativeLayer."""

    name = "cumulative"
    needs = "add_cumulative"

    @staticmethod
    def write(net: Recorder, x: Tensor, axis: int) -> Tensor:
        """ICumulativeLayer: inclusive running sum along an axis."""
        return net.record(Cumulative, (x,), {"axis": axis}, [(x.dtype, x.shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        constant = e.constant(torch.tensor(a["axis"], dtype=torch.int32))
        op = e.trt.CumulativeOperation.SUM
        return e.net.add_cumulative(e.tensor(layer.inputs[0]), constant, op, False, False)

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, x: Value) -> Value:
        return torch.cumsum(x, a["axis"])

    @staticmethod
    def older(net: Recorder, a: Attributes, x: Tensor) -> tuple[Tensor]:
        """Sums of 1, 2, 4, ... elements: each step adds the sum that many places before.

        W. D. Hillis and G. L. Steele, Data Parallel Algorithms, 1986. Steps that reach before the
        first element add zeros, so an axis of unknown length takes as many as the longest would.
        """
        axis, length = a["axis"], x.shape[a["axis"]]
        zero = net.constant(torch.zeros((), dtype=x.dtype))
        for step in range((length - 1).bit_length() if length else LONGEST):
            start = [-(1 << step) if i == axis else 0 for i in range(x.ndim)]
            before = Slice.write(net, x, start, sizes(net, x), [1] * x.ndim, "FILL", zero)
            x = Elementwise.write(net, x, before, "SUM")
        return (x,)


class TopK(Kind):
    """ITopKLayer."""

    name = "topk"

    @staticmethod
    def write(net: Recorder, x: Tensor, op: str, k: Size, axis: int) -> tuple[Tensor, Tensor]:
        """ITopKLayer: the k largest (MAX) or smallest (MIN), sorted; indices are int64."""
        known = k if isinstance(k, int) else None
        shape = resized(x.shape, axis, known)
        inputs = (x, None if isinstance(k, int) else k)
        attributes = {"op": op, "k": known, "axis": axis}
        results = [(x.dtype, shape), (torch.int64, shape)]
        values, indices = net.record(TopK, inputs, attributes, results)
        return values, indices

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        x, k = layer.inputs
        op = getattr(e.trt.TopKOperation, a["op"])
        int64 = e.trt.DataType.INT64
        data, count, axes = e.tensor(x), a["k"] or 1, _mask([a["axis"]])
        typed = "indices_type" in (e.net.add_topk.__doc__ or "")
        added = (
            e.net.add_topk(data, op, count, axes, int64)
            if typed
            else e.net.add_topk(data, op, count, axes)
        )
        if k is not None:
            added.set_input(1, e.tensor(k))
        if typed:
            return added
        return LayerOutputs(
            (added.get_output(0), e.net.add_cast(added.get_output(1), int64).get_output(0))
        )

    @staticmethod
    def evaluate(a: Attributes, x: Value, k: Value | None) -> list[Value]:
        count = a["k"] if k is None else int(k)
        largest = a["op"] == "MAX"
        values, indices = torch.sort(x, dim=a["axis"], descending=largest, stable=True)
        return [part.narrow(a["axis"], 0, count) for part in (values, indices)]


def _of_nothing(net: Recorder, op: str, dtype: torch.dtype, sizes: Sequence[Size]) -> Tensor:
    """The result of reducing no elements, since TensorRT 10.6 can't reduce an empty tensor."""
    value = REDUCE[op](torch.zeros(0, dtype=dtype), (0,), False).to(dtype)
    fill = net.constant(value.reshape([1] * len(sizes)))
    return Slice.write(net, fill, [0] * len(sizes), sizes, [0] * len(sizes)) if sizes else fill


def skip_nan(x: Value, other: float) -> Value:
    """x with `other` for each NaN, since engines ignore NaNs."""
    return torch.where(x.isnan(), other, x) if x.is_floating_point() else x


def _extreme(x: Value, axes: tuple[int, ...], keep: bool, worst: float) -> Value:
    """The largest or smallest element, NaNs ignored; of no elements, the worst value there is."""
    if 0 in x.shape:
        limits = None if x.is_floating_point() else torch.iinfo(x.dtype)
        known = worst if limits is None else limits.min if worst < 0 else limits.max
        return x.sum(axes, keepdim=keep, dtype=x.dtype).fill_(known)
    x = skip_nan(x, worst)
    return x.amax(axes, keepdim=keep) if worst < 0 else x.amin(axes, keepdim=keep)


def _product(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _mask(axes: Sequence[int]) -> int:
    """Axes as TensorRT's bit mask."""
    return sum(1 << axis for axis in axes)


KINDS: tuple[type[Kind], ...] = (Reduce, Softmax, Normalization, Cumulative, TopK)


class Reductions(Recorder):
    """These kinds as methods."""

    reduce = method(Reduce.write)
    softmax = method(Softmax.write)
    normalization = method(Normalization.write)
    cumulative = method(Cumulative.write)
    topk = method(TopK.write)
