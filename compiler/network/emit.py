"""Replays a network into TensorRT's `INetworkDefinition`: the walk over its layers.

Each kind says how its layers are emitted (kinds/), in the same way for `tensorrt` and `tensorrt_rtx`:
the module is an argument. Weights are passed by pointer, so `Emitted.keep` must live until the
engine is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from compiler.network.network import Layer, Network, Tensor
from compiler.network.refit import Bindings

DTYPES = {
    torch.float32: "FLOAT", torch.float16: "HALF", torch.bfloat16: "BF16", torch.int32: "INT32",
    torch.int64: "INT64", torch.bool: "BOOL", torch.uint8: "UINT8", torch.int8: "INT8",
}  # fmt: skip


class EmitError(Exception):
    """TensorRT refused a layer, or inferred a dtype or shape other than ours."""

    def __init__(self, node: str, message: str) -> None:
        super().__init__(message)
        self.node = node


@dataclass(frozen=True)
class Emitted:
    """What must outlive the build: the tensors behind the weights, and plugins.

    `bound` are the weights that get a name in the engine, by that name (compiler/network/refit.py).
    """

    keep: tuple[Any, ...]
    bound: Mapping[str, Any]


class Emitter:
    """Writes one network. `trt` is the TensorRT module, `definition` its INetworkDefinition.

    With `bindings`, the constants that they name are noted in the result.
    """

    def __init__(self, trt: Any, definition: Any, bindings: Bindings | None = None) -> None:
        self.trt = trt
        self.net = definition
        self.keep: list[Any] = []
        self._bindings = bindings
        self._bound: dict[str, Any] = {}
        self._tensors: dict[str, Any] = {}

    def emit(self, network: Network) -> Emitted:
        """Add every layer and mark the outputs. EmitError names the graph node that failed."""
        for tensor in network.inputs:
            shape = [-1 if n is None else n for n in tensor.shape]
            added = self.net.add_input(tensor.name, self.dtype(tensor.dtype), shape)
            if added is None:
                raise EmitError("", f"TensorRT refused the input {tensor.name!r}")
            self._tensors[tensor.name] = added
        for position, layer in enumerate(network.layers):
            self._layer(layer, position)
        for name, tensor in network.outputs:
            found = self.tensor(tensor)
            found.name = name
            self.net.mark_output(found)
        return Emitted(tuple(self.keep), self._bound)

    def _layer(self, layer: Layer, position: int) -> None:
        try:
            added = layer.row.emit(self, layer, layer.attributes)
        except (AttributeError, TypeError, RuntimeError, ValueError) as error:
            # AttributeError: TensorRT returned None for a layer, whose attributes `emit` then set.
            raise EmitError(
                layer.node, f"{layer.kind}: TensorRT refused its arguments: {error}"
            ) from error
        if added is None:
            raise EmitError(layer.node, f"{layer.kind}: TensorRT refused the layer")
        added.name = f"{layer.node or layer.kind}#{position}"
        for index, tensor in enumerate(layer.outputs):
            output = added.get_output(index)
            _check(layer, tensor, output, self.dtype(tensor.dtype))
            self._tensors[tensor.name] = output

    def inner(self, body: Network, inputs: Sequence[Any]) -> None:
        """Add the layers of a loop's body, with these ITensors as its inputs."""
        for tensor, given in zip(body.inputs, inputs, strict=True):
            self._tensors[tensor.name] = given
        for position, layer in enumerate(body.layers):
            self._layer(layer, position)

    # -- used by the kinds --------------------------------------------------------------

    def dtype(self, dtype: torch.dtype) -> Any:
        return getattr(self.trt.DataType, DTYPES[dtype])

    def weights(self, value: torch.Tensor, constant: str = "") -> Any:
        """A pointer to the tensor's bytes, made contiguous; kept alive with the emitter.

        `constant` names the network's constant that it is the value of.
        """
        value, name = value.detach().contiguous(), ""
        if self._bindings is not None:
            name = self._bindings.names.get(constant, "")
            # TensorRT names weights by address, so no other weights may lie where named ones do.
            value = self._bindings.tensors[name] if name else value.clone()
        self.keep.append(value)
        made = self.trt.Weights(self.dtype(value.dtype), value.data_ptr(), value.numel())
        if name:
            self._bound[name] = made
        return made

    def tensor(self, tensor: Tensor | None) -> Any:
        """The ITensor of a value; a constant becomes a constant layer on first use."""
        assert tensor is not None
        found = self._tensors.get(tensor.name)
        if found is None:
            assert tensor.constant is not None, f"{tensor.name} is used before it exists"
            layer = self.net.add_constant(
                tuple(tensor.constant.shape), self.weights(tensor.constant, tensor.name)
            )
            if layer is None:
                raise EmitError(
                    "", f"TensorRT refused the constant {tensor.name} {tensor.constant.dtype}"
                )
            layer.name = tensor.name
            found = self._tensors[tensor.name] = layer.get_output(0)
        return found

    def constant(self, value: torch.Tensor) -> Any:
        """The ITensor of a constant that is not part of the network."""
        return self.net.add_constant(tuple(value.shape), self.weights(value)).get_output(0)

    def has(self, method: str) -> bool:
        """Whether this version of INetworkDefinition has the method."""
        return hasattr(self.net, method)


class LayerOutputs:
    """ITensors of several TensorRT layers, as the outputs of one."""

    def __init__(self, tensors: Sequence[Any]) -> None:
        self.tensors = tensors
        self.name = ""

    def get_output(self, index: int) -> Any:
        return self.tensors[index]


def _check(layer: Layer, tensor: Tensor, output: Any, dtype: Any) -> None:
    found = tuple(output.shape) if output.shape.__len__() >= 0 else None
    fits = (
        found is not None
        and len(found) == tensor.ndim
        and all(
            declared is None or size in (-1, declared)
            for declared, size in zip(tensor.shape, found, strict=True)
        )
    )
    if not fits or output.dtype != dtype:
        raise EmitError(
            layer.node,
            f"{layer.kind}: expected {tensor.dtype} {tensor.shape}, TensorRT gives {output.dtype} {found}",
        )
