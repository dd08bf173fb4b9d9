"""Which constants a refittable engine leaves out, and under which names it gets them when it is opened.

Such an engine is built without the bytes of the constants that come from the model's weights, and
serves every model whose network differs in nothing else. All other constants stay in it: numbers
from code, integers, and single numbers, which TensorRT may fold into its kernels.

    bindings(network, weights) -> Bindings
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from compiler.network.network import Network, Tensor
from compiler.network.recorder import FLOATS


@dataclass(frozen=True)
class Bindings:
    """`names` maps a constant of the network to its name in the engine, `tensors` that name to its value.

    `derived` are the names of values that are no weight as it is: transposed, cast, scaled.
    """

    names: Mapping[str, str]
    tensors: Mapping[str, torch.Tensor]
    derived: frozenset[str]


def bindings(network: Network, weights: Mapping[str, torch.Tensor]) -> Bindings:
    """What an engine of this network gets from outside. `weights` are the model's own, by name.

    A constant that has exactly the memory of a weight gets that weight's name. Memory decides, not
    content: two weights that are equal by chance are not equal in the next model.
    """
    own: dict[tuple[int, int, torch.dtype], str] = {}
    for name, tensor in weights.items():
        if tensor.is_contiguous():
            own.setdefault(_memory(tensor), name)
    names: dict[str, str] = {}
    tensors: dict[str, torch.Tensor] = {}
    derived: set[str] = set()
    for constant in _constants(network):
        value = constant.constant
        if value is None or constant.name in names or not refittable(constant):
            continue
        if value.is_contiguous() and _memory(value) in own:
            name = own[_memory(value)]
            value = weights[name]
        else:
            name = _unused(f"derived.{constant.name}", weights)
            derived.add(name)
            # A copy: TensorRT tells weights apart by their address.
            value = value.detach().contiguous().clone()
        names[constant.name] = name
        tensors[name] = value
    return Bindings(names, tensors, frozenset(derived))


def refittable(tensor: Tensor) -> bool:
    """Whether another model's weights may replace this constant in a built engine."""
    filled = tensor.constant is not None and tensor.constant.numel() > 0
    return filled and tensor.from_weights and tensor.dtype in FLOATS


def _constants(network: Network) -> Iterator[Tensor]:
    """Every constant that a layer reads or that is an output, those in the bodies of loops included."""
    for layer in network.layers:
        yield from (t for t in layer.inputs if t is not None and t.constant is not None)
        for value in layer.attributes.values():
            if isinstance(value, Network):
                yield from _constants(value)
    yield from (t for _, t in network.outputs if t.constant is not None)


def _memory(tensor: torch.Tensor) -> tuple[int, int, torch.dtype]:
    return tensor.data_ptr(), tensor.numel(), tensor.dtype


def _unused(name: str, taken: Mapping[str, torch.Tensor]) -> str:
    while name in taken:
        name += "_"
    return name
