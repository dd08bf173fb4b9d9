"""Converts a graph of ATen calls to a network, node by node, and checks each result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch

from compiler.convert.net import Net
from compiler.convert.registry import Refusal, Registry
from compiler.convert.schema import bind
from compiler.network.network import Network, Shape, Tensor
from compiler.network.reads import set_apart
from compiler.network.scales import vary_scales
from compiler.program import replaceable
from enginebundle.format import dims
from enginebundle.format.dims import Dim
from enginebundle.format.graph import Graph, Node, Ref, Value
from enginebundle.format.spec import TensorSpec


class ConversionError(Exception):
    """A converter failed on a node that it had accepted. The node can be left to torch."""

    def __init__(self, node: Node, refusal: Refusal) -> None:
        super().__init__(f"{node.op} ({node.name}) from {node.origin}: {refusal.detail}")
        self.node = node
        self.refusal = refusal


def convert(
    graph: Graph, weights: Mapping[str, torch.Tensor], registry: Registry,
    pinned: Mapping[str, int] = MappingProxyType({}),
) -> Network:  # fmt: skip
    """Write the whole graph into a network.

    Args:
        graph: every node must have a converter; `partition` ensures that.
        weights: the graph's weights by name, on the CPU.
        pinned: the symbols that always have one value. Sizes of them are numbers in the network, so what
            is computed from sizes is computed now.

    Raises:
        ConversionError: a node without a converter, a converter that raised, or one whose result
            has a different dtype or shape from the graph's.
    """
    net = Net()
    values = value_table(graph)
    env: dict[str, Any] = {}
    for spec in graph.inputs:
        shape = _static_sizes(spec.shape, pinned)
        env[spec.name] = net.input(spec.name, getattr(torch, spec.dtype), shape)
    for weight in graph.weights:
        env[weight.name] = net.constant(weights[weight.name], replaceable(weight.spec))
    read = {*graph.returns, *(name for node in graph.nodes for name in node.inputs())}
    for node in graph.nodes:
        net.node = node.name
        net.declared = tuple(_static_sizes(v.shape, pinned) for v in node.outputs)
        for value, result in zip(
            node.outputs, _call(net, node, env, values, registry), strict=True
        ):
            if result is None and value.is_tensor and value.name in read:
                raise ConversionError(
                    node, Refusal("output", f"{node.op}: no converter for {value.name}")
                )
            env[value.name] = result
    outputs = {
        spec.name: env[name] for spec, name in zip(graph.outputs, graph.returns, strict=True)
    }
    nodes = {name: tensor for name, tensor in env.items() if isinstance(tensor, Tensor)}
    return set_apart(vary_scales(net.finish(outputs, nodes)))


def value_table(graph: Graph) -> dict[str, Value]:
    """Every value of a graph by name: inputs, weights and the nodes' outputs."""
    specs: list[TensorSpec] = [*graph.inputs, *(w.spec for w in graph.weights)]
    table = {spec.name: Value(spec.name, spec.dtype, spec.shape) for spec in specs}
    for node in graph.nodes:
        table.update({value.name: value for value in node.outputs})
    return table


def _static_sizes(shape: tuple[Dim, ...], pinned: Mapping[str, int]) -> Shape:
    return tuple(
        dims.evaluate(dim, pinned) if dims.symbols_of(dim) <= pinned.keys() else None
        for dim in shape
    )


def _call(
    net: Net, node: Node, env: Mapping[str, Any], values: Mapping[str, Value], registry: Registry
) -> list[Any]:
    found = registry.find(node, values)
    if isinstance(found, Refusal):
        raise ConversionError(node, found)

    def look_up(ref: Ref) -> Any:
        return env[ref.name]

    bound = bind(node, look_up)
    try:
        result = found.function(net, **{name: bound[name] for name in found.parameters})
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # a bug in a converter costs its own node only
        raise ConversionError(node, _refusal(node, error)) from error
    results = list(result) if isinstance(result, tuple | list) else [result]
    if len(results) != len(node.outputs):
        raise ConversionError(
            node, Refusal("converter", f"expected {len(node.outputs)} results, got {len(results)}")
        )
    return [_checked(node, value, item) for value, item in zip(node.outputs, results, strict=True)]


def _refusal(node: Node, error: Exception) -> Refusal:
    return Refusal(
        "converter", f"{node.op}: its converter raised {type(error).__name__}: {error}",
        "it runs in torch; please report the operator and its arguments",
    )  # fmt: skip


def _checked(node: Node, value: Value, result: Any) -> Any:
    """The result, with the sizes filled in that the graph knows to be static."""
    if not value.is_tensor or not isinstance(result, Tensor):
        return result
    if str(result.dtype).removeprefix("torch.") != value.dtype:
        raise ConversionError(
            node,
            Refusal("converter", f"{node.op}: expected dtype {value.dtype}, got {result.dtype}"),
        )
    merged = []
    fits = len(value.shape) == result.ndim
    for declared, found in zip(value.shape, result.shape, strict=False):
        fits = fits and (not isinstance(declared, int) or found is None or found == declared)
        merged.append(declared if isinstance(declared, int) else found)
    if not fits:
        raise ConversionError(
            node,
            Refusal("converter", f"{node.op}: expected shape {value.shape}, got {result.shape}"),
        )
    shape = tuple(merged)
    return result if shape == result.shape else replace(result, shape=shape)
