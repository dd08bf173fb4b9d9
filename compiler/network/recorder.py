"""Records a network: its inputs, its constants, and one layer after another.

A layer whose inputs are all small constants is computed at once. Each kind of layer (kinds/) checks
what TensorRT would refuse and gives its results' dtypes and shapes; `Recorder.record` adds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch

from compiler.network.kind import Attributes, Kind
from compiler.network.network import Layer, Network, Shape, Size, Tensor

FOLD_LIMIT = 1 << 16
"""Constants of more elements than this are computed by the engine, not by the converter."""

MAX_RANK = 8
FLOATS = frozenset({torch.float32, torch.float16, torch.bfloat16})
DTYPES = FLOATS | {torch.int32, torch.int64, torch.bool, torch.uint8, torch.int8}


class NetworkError(ValueError):
    """A layer that TensorRT would refuse: what was expected and what was given."""


class Recorder:
    """One instance writes one network."""

    identity: ClassVar[type[Kind]]
    """The kind that gives an output a tensor of its own."""

    def __init__(self) -> None:
        self._inputs: list[Tensor] = []
        self._layers: list[Layer] = []
        self._count = 0
        self._producers: dict[str, Layer] = {}
        self.node = ""
        """Name of the graph node being converted; new layers and tensors are named after it."""
        self.declared: tuple[Shape, ...] = ()
        """The shape of each result of that node, as far as the graph knows it."""

    def input(self, name: str, dtype: torch.dtype, shape: Shape) -> Tensor:
        """A network input; None marks a dynamic dimension."""
        expect(dtype in DTYPES, f"input {name}: TensorRT has no {dtype}")
        tensor = Tensor(name, dtype, shape)
        self._inputs.append(tensor)
        return tensor

    def constant(self, value: torch.Tensor, from_weights: bool = False) -> Tensor:
        """A constant tensor; nothing is copied. Written into the network where it is used."""
        expect(value.dtype in DTYPES, f"constant: TensorRT has no {value.dtype}")
        name = f"constant_{self.number()}"
        return Tensor(name, value.dtype, tuple(value.shape), value, from_weights)

    def record(
        self, row: type[Kind], inputs: tuple[Tensor | None, ...], attributes: Attributes,
        outputs: Sequence[tuple[torch.dtype, Shape]], fold: bool = True,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Add a layer and return its results, one for each dtype and shape in `outputs`.

        With `fold`, a layer that reads only small constants is computed now instead of added.
        """
        if fold and _foldable(inputs, outputs):
            values = [None if t is None else t.constant for t in inputs]
            marked = any(t is not None and t.from_weights for t in inputs)
            return tuple(self.constant(v, marked) for v in row.evaluate(attributes, *values))
        made = []
        for dtype, shape in outputs:
            name = f"{self.node or 'value'}.{row.name}.{self.number()}"
            made.append(Tensor(name, dtype, shape))
        layer = Layer(row, inputs, dict(attributes), tuple(made), self.node)
        self._layers.append(layer)
        self._producers.update((tensor.name, layer) for tensor in made)
        return tuple(made)

    def producer(self, tensor: Tensor) -> Layer | None:
        """The layer that computes a tensor; None for inputs and constants."""
        return self._producers.get(tensor.name)

    def number(self) -> int:
        """The next number, for a name that no other tensor has."""
        self._count += 1
        return self._count

    def inner(self) -> Self:
        """A recorder for the body of a loop in this network; it uses none of the names used here."""
        made = type(self)()
        made.node, made._count = self.node, self._count
        return made

    def close(self, inner: Self) -> None:
        """Continue counting where the recorder of a loop's body stopped."""
        self._count = inner._count

    def finish(self, outputs: Mapping[str, Tensor], nodes: Mapping[str, Tensor]) -> Network:
        """Freeze. An output that is an input, a constant or shared goes through an identity layer."""
        taken = {tensor.name for tensor in self._inputs}
        marked: list[tuple[str, Tensor]] = []
        for name, tensor in outputs.items():
            if tensor.name in taken or tensor.constant is not None:
                result = [(tensor.dtype, tensor.shape)]
                tensor = self.record(self.identity, (tensor,), {}, result, fold=False)[0]
            taken.add(tensor.name)
            marked.append((name, tensor))
        layers = _needed(self._layers, [tensor for _, tensor in marked])
        held = {t.name for t in self._inputs} | {t.name for x in layers for t in x.outputs}
        seen = {n: t for n, t in nodes.items() if t.name in held or t.constant is not None}
        return Network(tuple(self._inputs), layers, tuple(marked), seen)


def _foldable(
    inputs: Sequence[Tensor | None], outputs: Sequence[tuple[torch.dtype, Shape]]
) -> bool:
    given = [t for t in inputs if t is not None]
    if not given or any(t.constant is None or t.constant.numel() > FOLD_LIMIT for t in given):
        return False
    sizes = [math.prod(n for n in shape if n is not None) for _, shape in outputs]
    return max(sizes) <= FOLD_LIMIT


def _needed(layers: Sequence[Layer], outputs: Sequence[Tensor]) -> tuple[Layer, ...]:
    """The layers that the outputs depend on, in order."""
    wanted = {tensor.name for tensor in outputs}
    kept: list[Layer] = []
    for layer in reversed(layers):
        if any(tensor.name in wanted for tensor in layer.outputs):
            kept.append(layer)
            wanted |= {tensor.name for tensor in layer.inputs if tensor is not None}
    return tuple(reversed(kept))


def expect(condition: bool, message: str) -> None:
    """Raise NetworkError unless the condition holds."""
    if not condition:
        raise NetworkError(message)


def broadcast(*shapes: Shape) -> Shape:
    """The common shape of equal-rank shapes; an unknown size yields to a known one other than 1."""
    result: list[int | None] = []
    for dims in zip(*shapes, strict=True):
        large = {n for n in dims if n is not None and n != 1}
        expect(len(large) <= 1, f"shapes {shapes} do not broadcast")
        result.append(large.pop() if large else (None if None in dims else 1))
    return tuple(result)


def known(sizes: Sequence[Size]) -> Shape:
    """Sizes as a shape: None for those computed at run time."""
    return tuple(n if isinstance(n, int) else None for n in sizes)


def static(tensor: Tensor) -> tuple[int, ...]:
    """The sizes of a tensor; NetworkError if one of them is dynamic."""
    expect(tensor.is_static, f"{tensor.name}: expected a static shape, got {tensor.shape}")
    return tuple(n for n in tensor.shape if n is not None)


def resized(shape: Shape, axis: int, size: int | None) -> Shape:
    """The shape with another size along one axis."""
    return (*shape[:axis], size, *shape[axis + 1 :])
