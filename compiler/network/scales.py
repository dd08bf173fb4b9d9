"""Gives each attention layer a scaled query and a scaled key of its own.

TensorRT-RTX 1.5 takes a product of a query or key with a number into its attention kernel, and then its
builder dies (SIGSEGV) or fails where anything else reads that product: a second attention layer, as in
IP-Adapter and differential attention, or any other layer. The same product written twice is shared as
well, since the builder merges equal layers. So such an attention layer gets a product of its own, with
a number 2, 4, ... times as large, and its other operand is divided by as much. Powers of two change no
digit.

    vary_scales(network) -> the network, with such products
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import torch

from compiler.network.kinds.attention import Attention
from compiler.network.kinds.elementwise import Elementwise
from compiler.network.network import Layer, Network, Tensor


@dataclass(frozen=True)
class Product:
    """A tensor times a number, which is a constant of one element."""

    of: str
    value: float
    x: Tensor = field(compare=False)


_POWERS = tuple(2.0**n for n in range(1, 9))
"""Larger ones would leave float16."""


def vary_scales(network: Network) -> Network:
    """The same network, in which nothing else reads the scaled query or key of an attention layer."""
    products = {
        layer.outputs[0].name: product
        for layer in network.layers
        if layer.row is Elementwise and (product := _product(layer)) is not None
    }
    read = [tensor for layer in network.layers for tensor in layer.inputs if tensor is not None]
    read += [tensor for _, tensor in network.outputs]
    readers = Counter(products[tensor.name] for tensor in read if tensor.name in products)
    taken = {(product.of, product.value) for product in products.values()}
    layers: list[Layer] = []
    for layer in network.layers:
        if layer.row is Attention:
            for place in (0, 1):
                operand = layer.inputs[place]
                product = None if operand is None else products.get(operand.name)
                if product is None or readers[product] == 1:
                    continue
                made = _varied(layer, place, product, taken)
                if made is not None:
                    layers += made[:-1]
                    layer = made[-1]
        layers.append(layer)
    return replace(network, layers=tuple(layers))


def _product(layer: Layer) -> Product | None:
    """What an elementwise layer multiplies with a number, if it does."""
    if layer.attributes["op"] != "PROD":
        return None
    left, right = layer.inputs
    for x, number in ((left, right), (right, left)):
        if x is not None and x.constant is None and number is not None:
            constant = number.constant
            if constant is not None and constant.numel() == 1:
                return Product(x.name, float(constant), x)
    return None


def _varied(
    layer: Layer, place: int, product: Product, taken: set[tuple[str, float]]
) -> list[Layer] | None:
    """Products of its own, and last the layer that reads them; None if no power of two is left.

    `taken` are the products that there are, to which these are added.
    """
    other = layer.inputs[1 - place]
    assert other is not None
    for power in _POWERS:
        uses = {place: (product.x, product.value * power), 1 - place: (other, 1 / power)}
        names = {(x.name, value) for x, value in uses.values()}
        # Of a product with 1, nothing would be left.
        if not names & taken and product.value * power != 1:
            break
    else:
        return None
    taken |= names
    inputs, made = list(layer.inputs), []
    for at, (x, value) in uses.items():
        own = f"{layer.outputs[0].name}.{'query' if at == 0 else 'key'}"
        ones = (1,) * x.ndim
        constant = torch.full(ones, value, dtype=x.dtype)
        scale = Tensor(f"{own}.scale", x.dtype, ones, constant)
        inputs[at] = scaled = Tensor(own, x.dtype, x.shape)
        made.append(Layer(Elementwise, (x, scale), {"op": "PROD"}, (scaled,), layer.node))
    return [*made, replace(layer, inputs=tuple(inputs))]
