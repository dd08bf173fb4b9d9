"""Keeps apart two reads of one tensor that TensorRT-RTX would mistake for each other.

TensorRT-RTX 1.5 fuses a reduction with the elementwise layers before it. If all sizes are static
and that kernel reads one tensor twice, starting at the same element but with different steps or
places, it takes one read for the other: `(x[:, :1] * x).sum(1)`, `layer_norm(x - shifted(x))` and
a rotary embedding before a sum were always wrong on an H100 (benchmarks/gpu_reads.py). Reads that
start at different elements were right, and so were dynamic sizes and kernels without a reduction.
The cure is to copy one of the two tensors in a way that TensorRT-RTX does not see through.

    set_apart(network) -> the network, with such copies
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from compiler.network.kind import Kind, Role
from compiler.network.kinds.indexing import Gather, GatherND
from compiler.network.kinds.shapes import Concat, Reshape, ShapeOf, Squeeze, Transpose, Unsqueeze
from compiler.network.kinds.slices import Slice
from compiler.network.network import Layer, Network, Shape, Tensor


@dataclass(frozen=True)
class Read:
    """Element i of a tensor is element `first` + sum(i * steps) of `root`, counted in C order.

    A step along an axis of one element is 0. `place` says how far a concatenation or padding moved
    the first element; 0 if it did not.
    """

    root: str
    first: int
    steps: tuple[int, ...]
    place: int = 0


Reads = frozenset[Read]
Known = Callable[[Tensor], Reads]


def set_apart(network: Network) -> Network:
    """The same network, with copies of tensors whose reads TensorRT-RTX would mistake."""
    reduced = _reduced(network)
    reads: dict[str, Reads] = {}
    copies: dict[str, Tensor] = {}
    layers: list[Layer] = []

    def known(tensor: Tensor) -> Reads:
        if tensor.constant is not None or not tensor.is_static:
            return frozenset()
        return reads[tensor.name] if tensor.name in reads else frozenset({_whole(tensor)})

    for layer in network.layers:
        result = layer.outputs[0]
        if result.name in reduced and result.is_static and _count(result):
            for tensor in _mistakable(layer, known):
                if tensor.name not in copies:
                    made = _copy(tensor, layer.node)
                    layers += made
                    copies[tensor.name] = made[-1].outputs[0]
                layer = _reading(layer, tensor, copies[tensor.name])
        layers.append(layer)
        if result.is_static:
            reads |= _read_by(layer, known)
    return replace(network, layers=tuple(layers)) if copies else network


def _reduced(network: Network) -> set[str]:
    """The names of tensors that reach a reduction through elementwise layers and moves."""
    found: set[str] = set()
    for layer in reversed(network.layers):
        passed_on = layer.row.role in (Role.POINTWISE, Role.MOVE) and layer.outputs[0].name in found
        if layer.row.role is Role.REDUCTION or passed_on:
            data = layer.inputs[:1] if layer.row in _MOVES else layer.inputs  # no sizes or indices
            found |= {tensor.name for tensor in data if tensor is not None}
    return found


def _mistakable(layer: Layer, known: Known) -> list[Tensor]:
    """Operands to copy: the smaller of two whose reads would be mistaken."""
    if layer.row.role is not Role.POINTWISE and layer.row is not Concat:
        return []
    kept: dict[tuple[str, int], Read] = {}
    found: dict[str, Tensor] = {}
    for tensor, reads in sorted(_operands(layer, known), key=lambda pair: -_count(pair[0])):
        if any(kept.get((read.root, read.first), read) != read for read in reads):
            found[tensor.name] = tensor
        else:
            kept |= {(read.root, read.first): read for read in reads}
    return list(found.values())


def _operands(layer: Layer, known: Known) -> Iterator[tuple[Tensor, Reads]]:
    """What each operand of an elementwise layer or concatenation reads, by the result's axes."""
    shape, axis = layer.outputs[0].shape, layer.attributes.get("axis", 0)
    after, place = math.prod(n or 0 for n in shape[axis + 1 :]), 0
    for tensor in layer.inputs:
        if tensor is None:
            continue
        new = (0,) * (len(shape) - tensor.ndim)
        reads = [replace(r, steps=new + r.steps, place=r.place + place) for r in known(tensor)]
        yield tensor, frozenset(reads)
        if layer.row is Concat:
            place += (tensor.shape[axis] or 0) * after


def _read_by(layer: Layer, known: Known) -> dict[str, Reads]:
    """What the result reads; nothing for a result that does not consist of the operands' elements."""
    result, x = layer.outputs[0], layer.inputs[0]
    if layer.row.role is Role.POINTWISE or layer.row is Concat:
        of_each = [reads for _, reads in _operands(layer, known)]
        return {result.name: frozenset[Read]().union(*of_each)}
    if layer.row is ShapeOf:  # computed on the host
        return {result.name: frozenset()}
    if layer.row not in _MOVES or x is None:
        return {}
    moved = [_MOVES[layer.row](layer, x, read) for read in known(x)]
    found = [replace(r, steps=_steps(r.steps, result.shape)) for r in moved if r is not None]
    return {result.name: frozenset(found)} if len(found) == len(moved) else {}


def _slice(layer: Layer, x: Tensor, read: Read) -> Read | None:
    """Elements before the first (padding) move the first elsewhere."""
    start, sizes, stride = (layer.attributes[name] for name in ("start", "sizes", "stride"))
    if None in (start, sizes, stride) or 0 in stride:  # stride 0 repeats: never seen to be wrong
        return None
    first = sum(max(a, 0) * step for a, step in zip(start, read.steps, strict=True))
    before = sum(max(-a, 0) * step for a, step in zip(start, _whole(x).steps, strict=True))
    steps = tuple(a * step for a, step in zip(stride, read.steps, strict=True))
    return Read(read.root, read.first + first, steps, read.place + before)


def _transpose(layer: Layer, x: Tensor, read: Read) -> Read:
    return replace(read, steps=tuple(read.steps[axis] for axis in layer.attributes["order"]))


def _reshape(layer: Layer, x: Tensor, read: Read) -> Read | None:
    """A reshape that only adds or drops axes of one element, or one of elements in C order."""
    shape = layer.outputs[0].shape
    if [n for n in x.shape if n != 1] == [n for n in shape if n != 1]:
        left = (step for step, n in zip(read.steps, x.shape, strict=True) if n != 1)
        return replace(read, steps=tuple(0 if n == 1 else next(left) for n in shape))
    return replace(read, steps=_c_order(shape)) if read.steps == _whole(x).steps else None


def _gather(layer: Layer, x: Tensor, read: Read) -> Read | None:
    """Constant indices at equal distances: TensorRT turns that gather into a slice."""
    axis, indices = layer.attributes["axis"], layer.inputs[1]
    if indices is None or indices.constant is None or indices.ndim > 1 or not _count(indices):
        return None
    places = indices.constant.flatten()
    apart = list(set(places.diff().tolist())) or [0]
    if len(apart) != 1:
        return None
    step = read.steps[axis]
    steps = (*read.steps[:axis], *(apart[0] * step,) * indices.ndim, *read.steps[axis + 1 :])
    return Read(read.root, read.first + int(places[0]) * step, steps, read.place)


_MOVES: dict[type[Kind], Callable[[Layer, Tensor, Read], Read | None]] = {
    Slice: _slice, Transpose: _transpose, Gather: _gather,
    Reshape: _reshape, Squeeze: _reshape, Unsqueeze: _reshape,
}  # fmt: skip


def _whole(tensor: Tensor) -> Read:
    return Read(tensor.name, 0, _c_order(tensor.shape))


def _c_order(shape: Shape) -> tuple[int, ...]:
    return _steps((math.prod(n or 0 for n in shape[i + 1 :]) for i in range(len(shape))), shape)


def _steps(steps: Iterable[int], shape: Shape) -> tuple[int, ...]:
    return tuple(0 if n == 1 else step for step, n in zip(steps, shape, strict=True))


def _count(tensor: Tensor) -> int:
    return math.prod(n or 0 for n in tensor.shape)


def _reading(layer: Layer, old: Tensor, new: Tensor) -> Layer:
    named = [tensor is not None and tensor.name == old.name for tensor in layer.inputs]
    inputs = [new if a else t for a, t in zip(named, layer.inputs, strict=True)]
    return replace(layer, inputs=tuple(inputs))


def _copy(tensor: Tensor, node: str) -> list[Layer]:
    """Layers, the last of which gives the tensor again: the only row of a one-row matrix."""
    row = (1, _count(tensor))
    zero = torch.zeros(1, 1, dtype=torch.int64)
    name = f"{tensor.name}.copy"
    index = Tensor(f"{name}.index", torch.int64, (1, 1), zero)
    as_row = Tensor(f"{name}.row", tensor.dtype, row)
    picked = Tensor(f"{name}.picked", tensor.dtype, row)
    copied = Tensor(name, tensor.dtype, tensor.shape)
    return [
        Layer(Reshape, (tensor, None), {"sizes": row}, (as_row,), node),
        Layer(GatherND, (as_row, index), {"batch_dims": 0}, (picked,), node),
        Layer(Reshape, (picked, None), {"sizes": tensor.shape}, (copied,), node),
    ]
