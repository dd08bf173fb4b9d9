"""Writes a network again, layer by layer, with some layers replaced.

replay(network, rewrite) -> the new network; the old one if nothing was replaced
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compiler.network.kinds import Layers
from compiler.network.network import Layer, Network, Tensor

Rewrite = Callable[[Layers, Layer, Sequence[Tensor | None]], Sequence[Tensor] | None]
"""(the new network, a layer, its inputs there) -> what stands for the layer's results, or None: itself."""


def replay(network: Network, rewrite: Rewrite) -> Network:
    """The network as `rewrite` has its layers, those in the bodies of loops included. What nothing reads
    any more is left out; tensors have new names. The network itself if `rewrite` replaces nothing."""
    net, replaced = Layers(), False

    def noted(
        net: Layers, layer: Layer, inputs: Sequence[Tensor | None]
    ) -> Sequence[Tensor] | None:
        nonlocal replaced
        made = rewrite(net, layer, inputs)
        replaced |= made is not None
        return made

    known = _replayed(net, network, noted)
    if not replaced:
        return network
    nodes = {name: known.get(t.name, t) for name, t in network.nodes.items()}
    return net.finish({name: known.get(t.name, t) for name, t in network.outputs}, nodes)


def _replayed(net: Layers, network: Network, rewrite: Rewrite) -> dict[str, Tensor]:
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
        made = rewrite(net, layer, inputs)
        if made is None:
            results = [(t.dtype, t.shape) for t in layer.outputs]
            attributes = {
                name: _body(net, value, rewrite) if isinstance(value, Network) else value
                for name, value in layer.attributes.items()
            }
            made = net.record(layer.row, inputs, attributes, results, fold=False)
        known.update(zip((tensor.name for tensor in layer.outputs), made, strict=True))
    return known


def _body(net: Layers, body: Network, rewrite: Rewrite) -> Network:
    inner = net.inner()
    known = _replayed(inner, body, rewrite)
    made = inner.finish({name: known.get(t.name, t) for name, t in body.outputs}, {})
    net.close(inner)
    return made
