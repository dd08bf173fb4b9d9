"""Kinds that read sizes or change axes: shape, reshape, transpose, unsqueeze, squeeze, concat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from compiler.network.emit import Emitter
from compiler.network.kind import Attributes, Kind, Role, Value, method, sizes_of
from compiler.network.kinds.indexing import Gather
from compiler.network.network import Layer, Shape, Size, Tensor
from compiler.network.recorder import MAX_RANK, Recorder, expect, resized, static


class ShapeOf(Kind):
    """IShapeLayer: sizes as a 1-dimensional int64 tensor."""

    name = "shape"

    @staticmethod
    def write(net: Recorder, x: Tensor) -> Tensor:
        """IShapeLayer: sizes as a 1-dimensional int64 tensor."""
        if x.is_static:
            return net.constant(torch.tensor(x.shape, dtype=torch.int64))
        return net.record(ShapeOf, (x,), {}, [(torch.int64, (x.ndim,))])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        return e.net.add_shape(e.tensor(layer.inputs[0]))

    @staticmethod
    def evaluate(a: Attributes, x: Value) -> list[Value]:
        return [torch.tensor(x.shape, dtype=torch.int64)]


class Reshape(Kind):
    """IShuffleLayer with new sizes."""

    name = "reshape"
    role = Role.MOVE

    @staticmethod
    def write(net: Recorder, x: Tensor, sizes: Sequence[Size]) -> Tensor:
        """IShuffleLayer with new sizes; one may be -1: it follows from the others."""
        expect(len(sizes) <= MAX_RANK, f"reshape to rank {len(sizes)}: TensorRT allows {MAX_RANK}")
        unknown = [i for i, n in enumerate(sizes) if not isinstance(n, int) or n == -1]
        shape: Shape = tuple(n if isinstance(n, int) and n != -1 else None for n in sizes)
        total = 0 if 0 in x.shape else math.prod(static(x)) if x.is_static else None
        if len(unknown) == 1 and total is not None:
            rest = math.prod(n for n in shape if n is not None)
            if rest:
                shape = tuple(total // rest if n is None else n for n in shape)
        if shape == x.shape and x.is_static:
            return x
        one = [-1 if n is None else n for n in shape]  # TensorRT finds one unknown size itself
        open_ = len(unknown) > 1 or (0 in shape and not any(sizes[i] == -1 for i in unknown))
        numbers, tensor = sizes_input(net, sizes if open_ else one)
        return net.record(Reshape, (x, tensor), {"sizes": numbers}, [(x.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        x, sizes = layer.inputs
        added = e.net.add_shuffle(e.tensor(x))
        added.zero_is_placeholder = False
        if sizes is None:
            added.reshape_dims = a["sizes"]
        else:
            added.set_input(1, e.tensor(sizes))
        return added

    @staticmethod
    def evaluate(a: Attributes, x: Value, sizes: Value | None) -> list[Value]:
        return [x.reshape(sizes_of(a["sizes"], sizes))]


class Transpose(Kind):
    """IShuffleLayer with a permutation of the dimensions."""

    name = "transpose"
    role = Role.MOVE

    @staticmethod
    def write(net: Recorder, x: Tensor, permutation: Sequence[int]) -> Tensor:
        """IShuffleLayer with a permutation of the dimensions."""
        order = tuple(permutation)
        expect(sorted(order) == list(range(x.ndim)), f"permutation {order} of rank {x.ndim}")
        if order == tuple(range(x.ndim)):
            return x
        shape = tuple(x.shape[i] for i in order)
        return net.record(Transpose, (x,), {"order": order}, [(x.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        added = e.net.add_shuffle(e.tensor(layer.inputs[0]))
        added.first_transpose = a["order"]
        return added

    @staticmethod
    def evaluate(a: Attributes, x: Value) -> list[Value]:
        return [x.permute(a["order"]).contiguous()]


class Unsqueeze(Kind):
    """IUnsqueezeLayer."""

    name = "unsqueeze"
    role = Role.MOVE
    needs = "add_unsqueeze"

    @staticmethod
    def write(net: Recorder, x: Tensor, axes: Sequence[int]) -> Tensor:
        """IUnsqueezeLayer: size-one dims at `axes` of the result (non-negative)."""
        if not axes:
            return x
        rank, chosen = x.ndim + len(axes), set(axes)
        expect(rank <= MAX_RANK, f"unsqueeze to rank {rank}: TensorRT allows {MAX_RANK}")
        expect(
            len(chosen) == len(axes) and all(0 <= a < rank for a in axes),
            f"unsqueeze axes {tuple(axes)}",
        )
        rest = iter(x.shape)
        shape = tuple(1 if i in chosen else next(rest) for i in range(rank))
        return net.record(Unsqueeze, (x,), {"axes": tuple(sorted(chosen))}, [(x.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        return e.net.add_unsqueeze(
            e.tensor(layer.inputs[0]), e.constant(torch.tensor(a["axes"], dtype=torch.int64))
        )

    @staticmethod
    def evaluate(a: Attributes, x: Value) -> list[Value]:
        for axis in a["axes"]:
            x = x.unsqueeze(axis)
        return [x]

    @staticmethod
    def older(net: Recorder, a: Attributes, x: Tensor) -> tuple[Tensor]:
        rest = iter(range(x.ndim))
        rank = x.ndim + len(a["axes"])
        return (rearranged(net, x, [None if i in a["axes"] else next(rest) for i in range(rank)]),)


class Squeeze(Kind):
    """ISqueezeLayer."""

    name = "squeeze"
    role = Role.MOVE
    needs = "add_squeeze"

    @staticmethod
    def write(net: Recorder, x: Tensor, axes: Sequence[int]) -> Tensor:
        """ISqueezeLayer: drop dims of size one at non-negative `axes`."""
        if not axes:
            return x
        chosen = set(axes)
        expect(
            all(x.shape[a] in (1, None) for a in chosen), f"squeeze of {x.shape} at {tuple(axes)}"
        )
        shape = tuple(n for i, n in enumerate(x.shape) if i not in chosen)
        return net.record(Squeeze, (x,), {"axes": tuple(sorted(chosen))}, [(x.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        return e.net.add_squeeze(
            e.tensor(layer.inputs[0]), e.constant(torch.tensor(a["axes"], dtype=torch.int64))
        )

    @staticmethod
    def evaluate(a: Attributes, x: Value) -> list[Value]:
        return [x.squeeze(a["axes"])]

    @staticmethod
    def older(net: Recorder, a: Attributes, x: Tensor) -> tuple[Tensor]:
        return (rearranged(net, x, [i for i in range(x.ndim) if i not in a["axes"]]),)


class Concat(Kind):
    """IConcatenationLayer."""

    name = "concat"
    role = Role.MOVE

    @staticmethod
    def write(net: Recorder, tensors: Sequence[Tensor], axis: int) -> Tensor:
        """IConcatenationLayer of tensors of one dtype along a non-negative axis."""
        first = tensors[0]
        if len(tensors) == 1:
            return first
        expect(all(t.dtype == first.dtype for t in tensors), "concat: dtypes differ")
        lengths = [t.shape[axis] for t in tensors]
        total = None if None in lengths else sum(n for n in lengths if n is not None)
        merged = [
            next((t.shape[i] for t in tensors if t.shape[i] is not None), None)
            for i in range(first.ndim)
        ]
        shape = resized(tuple(merged), axis, total)
        return net.record(Concat, tuple(tensors), {"axis": axis}, [(first.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        added = e.net.add_concatenation([e.tensor(t) for t in layer.inputs])
        added.axis = a["axis"]
        return added

    @staticmethod
    def evaluate(a: Attributes, *x: Value) -> list[Value]:
        return [torch.cat(x, a["axis"])]


def rearranged(net: Recorder, x: Tensor, axes: Sequence[int | None]) -> Tensor:
    """x reshaped to the sizes of these axes of it, in order, with 1 for each None."""
    shape = tuple(1 if axis is None else x.shape[axis] for axis in axes)
    if shape.count(None) < 2 and 0 not in shape:
        return Reshape.write(net, x, [-1 if n is None else n for n in shape])
    one = net.constant(torch.ones(1, dtype=torch.int64))
    places = torch.tensor([x.ndim if axis is None else axis for axis in axes])
    sizes = Gather.write(
        net, Concat.write(net, [ShapeOf.write(net, x), one], 0), net.constant(places), 0
    )
    return net.record(Reshape, (x, sizes), {"sizes": None}, [(x.dtype, shape)])[0]


def same_rank(net: Recorder, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors with leading size-one dims, so that all have the largest rank."""
    rank = max(t.ndim for t in tensors)
    return tuple(Unsqueeze.write(net, t, range(rank - t.ndim)) for t in tensors)


def vector(net: Recorder, sizes: Sequence[Size]) -> Tensor:
    """Sizes as a 1-dimensional int64 tensor."""
    if all(isinstance(n, int) for n in sizes):
        numbers = [n for n in sizes if isinstance(n, int)]
        return net.constant(torch.tensor(numbers, dtype=torch.int64))
    parts: list[Tensor] = []
    for n in sizes:
        scalar = net.constant(torch.tensor(n, dtype=torch.int64)) if isinstance(n, int) else n
        parts.append(Unsqueeze.write(net, scalar, [0]))
    return Concat.write(net, parts, 0)


def size(net: Recorder, x: Tensor, axis: int) -> Size:
    """One size of x: a number where static."""
    known = x.shape[axis]
    if known is not None:
        return known
    index = net.constant(torch.tensor(axis % x.ndim, dtype=torch.int64))
    return Gather.write(net, ShapeOf.write(net, x), index, 0)


def sizes(net: Recorder, x: Tensor) -> list[Size]:
    """Every size of x."""
    return [size(net, x, axis) for axis in range(x.ndim)]


def sizes_input(
    net: Recorder, sizes: Sequence[Size]
) -> tuple[tuple[int, ...] | None, Tensor | None]:
    """(static sizes, None), or (None, the tensor that holds them) if any is dynamic."""
    if all(isinstance(n, int) for n in sizes):
        return tuple(n for n in sizes if isinstance(n, int)), None
    return None, vector(net, sizes)


KINDS: tuple[type[Kind], ...] = (ShapeOf, Reshape, Transpose, Unsqueeze, Squeeze, Concat)


class Shapes(Recorder):
    """These kinds as methods."""

    shape = method(ShapeOf.write)
    reshape = method(Reshape.write)
    transpose = method(Transpose.write)
    unsqueeze = method(Unsqueeze.write)
    squeeze = method(Squeeze.write)
    concat = method(Concat.write)
    same_rank = same_rank
    vector = vector
    size = size
    sizes = sizes
