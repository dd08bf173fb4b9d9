"""Rewrites a network for a TensorRT that lacks some of its layers.

TensorRT 10.6 to 11.4 are one target. The methods of a version's INetworkDefinition show which
layers it has; one that it lacks is replaced by the layers that its kind writes instead (`Kind.older`).

    lacking(trt) -> the methods that this TensorRT lacks
    without(network, lacks) -> the same network without the layers that need them
    fitted(network, trt) -> the network for that TensorRT: without these, with what its own attention
                            needs and, for full TensorRT, without searches for NaN where it can have
                            none, and without what it gets wrong: turns of products, copies of constants,
                            products of a single row and head
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from compiler.network.copies import without_copies
from compiler.network.hidden_rows import guarded
from compiler.network.kinds import KINDS, Layers
from compiler.network.nan_guards import without_nan_guards
from compiler.network.network import Layer, Network, Tensor
from compiler.network.replay import replay
from compiler.network.single_rows import without_single_rows
from compiler.network.turned_products import straightened


def lacking(trt: Any) -> frozenset[str]:
    """The methods that some kind needs and this module's INetworkDefinition lacks."""
    needed = {row.needs for row in KINDS.values() if row.needs}
    return frozenset(name for name in needed if not hasattr(trt.INetworkDefinition, name))


def without(network: Network, lacks: Collection[str]) -> Network:
    """The same network without such layers; itself if it has none."""

    def older(
        net: Layers, layer: Layer, inputs: Sequence[Tensor | None]
    ) -> tuple[Tensor, ...] | None:
        if layer.row.needs not in lacks:
            return None
        return tuple(layer.row.older(net, layer.attributes, *inputs))

    # A replacement may use another layer that is lacking, as an attention's uses an unsqueeze.
    while any(_needs(network, method) for method in lacks):
        network = replay(network, older)
    return network


def fitted(network: Network, trt: Any) -> Network:
    """The network as this TensorRT is given it."""
    network = guarded(without(network, lacking(trt)))
    if trt.__name__ != "tensorrt":
        return network
    return without_single_rows(without_copies(straightened(without_nan_guards(network))))


def _needs(network: Network, method: str) -> bool:
    return any(
        layer.row.needs == method or any(_needs(body, method) for body in _bodies(layer.attributes))
        for layer in network.layers
    )


def _bodies(attributes: Any) -> list[Network]:
    return [value for value in attributes.values() if isinstance(value, Network)]
