"""Computes a network with torch on the CPU, layer by layer, by TensorRT's definitions.

This proves a converter's numbers on any machine. As in the engine, float16 and bfloat16 are how
values are stored: a layer that accumulates does so in float32, and its result is rounded to its
declared type.
"""

from __future__ import annotations

from collections.abc import Mapping

from compiler.network.kind import EvaluationError, Value
from compiler.network.network import Network, Tensor
from compiler.refused import first_lines


def evaluate(
    network: Network, inputs: Mapping[str, Value], observe: bool = False
) -> dict[str, Value]:
    """The network's outputs by name; with `observe`, every graph value that the network has, too.

    Raises EvaluationError where torch can't compute a layer, or its result contradicts its declared dtype or sizes.
    """
    env: dict[str, Value] = {}
    for tensor in network.inputs:
        env[tensor.name] = _claimed(tensor, inputs[tensor.name], "input", tensor.name)
    uses = _last_uses(network) if not observe else {}
    for position, layer in enumerate(network.layers):
        values = [None if t is None else _read(t, env) for t in layer.inputs]
        try:
            results = layer.row.evaluate(layer.attributes, *values)
        except Exception as error:  # torch raises what it likes
            why = str(error) if isinstance(error, EvaluationError) else first_lines(error)
            raise EvaluationError(f"{layer.kind} of {layer.node}: {why}", layer.node) from error
        for tensor, value in zip(layer.outputs, results, strict=True):
            env[tensor.name] = _claimed(tensor, value, layer.kind, layer.node)
        for name in uses.get(position, ()):
            env.pop(name, None)
    outputs = {name: _read(tensor, env) for name, tensor in network.outputs}
    if observe:
        outputs |= {name: _read(tensor, env) for name, tensor in network.nodes.items()}
    return outputs


def _read(tensor: Tensor, env: Mapping[str, Value]) -> Value:
    return tensor.constant if tensor.constant is not None else env[tensor.name]


def _claimed(tensor: Tensor, value: Value, what: str, node: str) -> Value:
    fits = tensor.ndim == value.ndim and all(
        declared in (None, found)
        for declared, found in zip(tensor.shape, value.shape, strict=False)
    )
    if value.dtype != tensor.dtype or not fits:
        raise EvaluationError(
            f"{what} of {node}: declared {tensor.dtype} {tensor.shape}, got {value.dtype} {tuple(value.shape)}",
            node,
        )
    return value


def _last_uses(network: Network) -> dict[int, list[str]]:
    last: dict[str, int] = {}
    for position, layer in enumerate(network.layers):
        for tensor in layer.inputs:
            if tensor is not None:
                last[tensor.name] = position
    kept = {tensor.name for _, tensor in network.outputs}
    result: dict[int, list[str]] = {}
    for name, position in last.items():
        if name not in kept:
            result.setdefault(position, []).append(name)
    return result
