"""Leaves out a constant's copies for a batch, where the other operand of a sum tells how many there are.

A table of positions or queries that a model expands to a static batch arrives as a constant with equal
slices. Full TensorRT 10.6 moves the axes of a sum's operand where that suits the product that makes it,
and forgets to move those of a constant, unless they are of size 1 (benchmarks/gpu_faults.py shows it with
TensorRT's own ONNX parser): DETR and Perceiver were wrong in static shapes.

    without_copies(network) -> the network with one slice in place of equal ones
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compiler.network.kinds import Layers
from compiler.network.kinds.elementwise import Elementwise, Select
from compiler.network.network import Layer, Network, Shape, Tensor
from compiler.network.recorder import FLOATS
from compiler.network.replay import replay


def without_copies(network: Network) -> Network:
    """The same network; itself if no constant has copies."""

    def rewrite(
        net: Layers, layer: Layer, inputs: Sequence[Tensor | None]
    ) -> tuple[Tensor, ...] | None:
        if layer.row not in (Elementwise, Select):
            return None
        made = [t for t in inputs if t is not None]
        for place, tensor in enumerate(made):
            value = _once(tensor, [t.shape for t in made if t is not tensor])
            if value is not None:
                made[place] = net.constant(value, tensor.from_weights)
        if all(a is b for a, b in zip(made, inputs, strict=True)):
            return None
        results = [(t.dtype, t.shape) for t in layer.outputs]
        return net.record(layer.row, tuple(made), layer.attributes, results, fold=False)

    return replay(network, rewrite)


def _once(tensor: Tensor, beside: Sequence[Shape]) -> torch.Tensor | None:
    """A constant's value without copies along axes that another operand has as well; None if it has none.

    Of what comes from weights only the first axis is looked at, which is the batch: that other weights
    are equal by chance must not make another network, since an engine is refitted with others.
    """
    value = tensor.constant
    if value is None:
        return None
    made = value
    for axis in range(1 if tensor.from_weights else value.ndim):
        size, first = made.shape[axis], made.narrow(axis, 0, min(made.shape[axis], 1))
        if size > 1 and any(s[axis] == size for s in beside) and _same(made, first.expand_as(made)):
            made = first
    return None if made.shape == value.shape else made.contiguous()


def _same(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Bit by bit, but for NaN, which equals nothing."""
    return torch.equal(x, y) and (x.dtype not in FLOATS or torch.equal(x.signbit(), y.signbit()))
