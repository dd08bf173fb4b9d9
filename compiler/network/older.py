"""Rewrites a network for a TensorRT that lacks some of its layers.

TensorRT 10.6 to 11.4 are one target. The methods of a version's INetworkDefinition show which
layers it has; one that it lacks is replaced by the layers that its kind writes instead (`Kind.older`).

    lacking(trt) -> the methods that this TensorRT lacks
    without(network, lacks) -> the same network without the layers that need them
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from compiler.network.kinds import KINDS, Layers
from compiler.network.network import Network, Tensor


def lacking(trt: Any) -> frozenset[str]:
    """The methods that some kind needs and this module's INetworkDefinition lacks."""
    needed = {row.needs for row in KINDS.values() if row.needs}
    return frozenset(name for name in needed if not hasattr(trt.INetworkDefinition, name))


def without(network: Network, lacks: Collection[str]) -> Network:
    """The same network without such layers; itself if it has none."""
    # A replacement may use another layer that is lacking, as an attention's uses an unsqueeze.
    while any(_needs(network, method) for method in lacks):
        net = Layers()
        known = _replay(net, network, lacks)
        nodes = {name: known.get(t.name, t) for name, t in network.nodes.items()}
        network = net.finish({name: known.get(t.name, t) for name, t in network.outputs}, nodes)
    return network


def _needs(network: Network, method: str) -> bool:
    return any(
        layer.row.needs == method or any(_needs(body, method) for body in _bodies(layer.attributes))
        for layer in network.layers
    )


def _bodies(attributes: Any) -> list[Network]:
    return [value for value in attributes.values() if isinstance(value, Network)]


def _replay(net: Layers, network: Network, lacks: Collection[str]) -> dict[str, Tensor]:
    """Record the network's layers again; returns the new tensors by their old names."""
    known = {t.name: net.input(t.name, t.dtype, t.shape) for t in network.inputs}

    def new(tensor: Tensor | None) -> Tensor | None:
        """A constant gets a new name, since the new network may use its old one."""
        if tensor is not None and tensor.constant is not None and tensor.name not in known:
            known[tensor.name] = net.constant(tensor.constant, tensor.from_weights)
        return None if tensor is None else known[tensor.name]

    for layer in network.layers:
        net.node = layer.node
        inputs = tuple(new(tensor) for tensor in layer.inputs)
        if layer.row.needs in lacks:
            made = layer.row.older(net, layer.attributes, *inputs)
        else:
            results = [(t.dtype, t.shape) for t in layer.outputs]
            attributes = {
                name: _body(net, value, lacks) if isinstance(value, Network) else value
                for name, value in layer.attributes.items()
            }
            made = net.record(layer.row, inputs, attributes, results, fold=False)
        known.update(zip((tensor.name for tensor in layer.outputs), made, strict=True))
    return known


def _body(net: Layers, body: Network, lacks: Collection[str]) -> Network:
    inner = net.inner()
    known = _replay(inner, body, lacks)
    made = inner.finish({name: known.get(t.name, t) for name, t in body.outputs}, {})
    net.close(inner)
    return made
