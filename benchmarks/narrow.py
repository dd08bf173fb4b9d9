"""The smallest run of a network's layers that an engine gets wrong.

    part(network, values, low, high) -> layers low to high as a network of static sizes, and its inputs' values
    narrowest(count, wrong) -> (low, high), by halving; None if the whole is right

A part's inputs are what the layers before it give; its outputs, all that is read behind it. So what
TensorRT fuses inside the part it can fuse as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from compiler.network.network import Network, Tensor

FEW = 8
"""A vector of at most this many integers is taken for sizes, which a part holds as a constant."""


def part(
    network: Network, values: Mapping[str, torch.Tensor], low: int, high: int
) -> tuple[Network, dict[str, torch.Tensor]]:
    """Layers `low` up to but without `high`. `values` holds every tensor of the network by name."""
    chosen = network.layers[low:high]
    inside = {t.name for layer in chosen for t in layer.outputs}
    made: dict[str, Tensor] = {}

    def static(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or tensor.constant is not None:
            return tensor
        if tensor.name not in made:
            value = values[tensor.name]
            outside = tensor.name not in inside
            constant = value if outside and _sizes(value) else None
            made[tensor.name] = replace(tensor, shape=tuple(value.shape), constant=constant)
        return made[tensor.name]

    layers = tuple(
        replace(
            layer,
            inputs=tuple(static(t) for t in layer.inputs),
            outputs=tuple(t for t in map(static, layer.outputs) if t is not None),
        )
        for layer in chosen
    )
    inputs = [t for name, t in made.items() if name not in inside and t.constant is None]
    behind = {t.name for layer in network.layers[high:] for t in layer.inputs if t is not None}
    behind |= {t.name for _, t in network.outputs}
    outputs = tuple((n, t) for n, t in made.items() if n in inside and n in behind)
    cut = Network(tuple(inputs), layers, outputs, {})
    return cut, {t.name: values[t.name] for t in inputs}


def _sizes(value: torch.Tensor) -> bool:
    whole = value.dtype in (torch.int32, torch.int64)
    return whole and value.ndim <= 1 and value.numel() <= FEW


def narrowest(count: int, wrong: Callable[[int, int], bool]) -> tuple[int, int] | None:
    """The shortest wrong beginning of `count` layers, and of it the shortest wrong end."""
    if not wrong(0, count):
        return None
    high = _least(1, count, lambda n: wrong(0, n))
    low = high - _least(1, high, lambda n: wrong(high - n, high))
    return low, high


def _least(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The least number from low to high for which it holds, if it holds for all above it."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return high
