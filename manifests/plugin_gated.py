"""The TensorRT plugin behind `kiln_plugin::gated`: version 3, in Python, for any TensorRT since 10.6.

`register()` is what the manifest names. A service calls it, too, before it loads the bundle:

    import plugin_gated
    plugin_gated.register()
    session = enginebundle.load("./store/gated")
"""

from __future__ import annotations

from typing import Any

import numpy
import tensorrt as trt
import torch

import plugin_model  # noqa: F401 - declares the operator that the plugin stands for

NAME, VERSION, NAMESPACE = "Gated", "1", ""
calls = 0
"""How often TensorRT had a plugin compute, to be looked at by whoever doubts it."""


class Gated(trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):
    """(x, gate) -> x * sigmoid(scale * gate), in float32."""

    def __init__(self, scale: float) -> None:
        for base in Gated.__bases__:
            base.__init__(self)
        self.plugin_name, self.plugin_version, self.plugin_namespace = NAME, VERSION, NAMESPACE
        self.num_outputs = 1
        self.scale = scale

    def get_capability_interface(self, kind: Any) -> Gated:
        return self

    def clone(self) -> Gated:
        return Gated(self.scale)

    def attach_to_context(self, context: Any) -> Gated:
        return self.clone()

    # While an engine is built:

    def get_output_data_types(self, input_types: list[Any]) -> list[Any]:
        return [input_types[0]]

    def get_output_shapes(
        self, inputs: list[Any], shape_inputs: list[Any], builder: Any
    ) -> list[Any]:
        return [trt.DimsExprs(inputs[0])]

    def supports_format_combination(self, position: int, tensors: list[Any], inputs: int) -> bool:
        found = tensors[position].desc
        return bool(found.format == trt.TensorFormat.LINEAR and found.type == trt.DataType.FLOAT)

    def configure_plugin(self, inputs: list[Any], outputs: list[Any]) -> None:
        return

    def get_fields_to_serialize(self) -> Any:
        self._scale = numpy.array([self.scale])  # TensorRT reads it after this call has returned
        return trt.PluginFieldCollection(
            [trt.PluginField("scale", self._scale, trt.PluginFieldType.FLOAT64)]
        )

    # While it runs:

    def on_shape_change(self, inputs: list[Any], outputs: list[Any]) -> None:
        return

    def set_tactic(self, tactic: int) -> None:
        return

    def enqueue(
        self, input_desc: list[Any], output_desc: list[Any], inputs: list[int], outputs: list[int],
        workspace: int, stream: int,
    ) -> None:  # fmt: skip
        """torch computes, on TensorRT's memory and stream."""
        global calls
        calls += 1
        x, gate = (_tensor(at, desc) for at, desc in zip(inputs, input_desc, strict=True))
        result = _tensor(outputs[0], output_desc[0])
        with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
            torch.sigmoid(gate * self.scale, out=result)
            result.mul_(x)


class Creator(trt.IPluginCreatorV3One):
    """Makes the plugin, from the operator's arguments or from what an engine has stored."""

    def __init__(self) -> None:
        trt.IPluginCreatorV3One.__init__(self)
        self.name, self.plugin_version, self.plugin_namespace = NAME, VERSION, NAMESPACE
        self._empty = numpy.array([], dtype=numpy.float64)
        self.field_names = trt.PluginFieldCollection(
            [trt.PluginField("scale", self._empty, trt.PluginFieldType.FLOAT64)]
        )

    def create_plugin(self, name: str, fields: Any, phase: Any) -> Gated:
        values = {field.name: field.data for field in fields}
        return Gated(float(numpy.asarray(values["scale"]).reshape(-1)[0]))


class _Memory:
    """Device memory of a tensor, as torch takes it from others."""

    def __init__(self, address: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape, "typestr": "<f4", "data": (address, False), "version": 3,
        }  # fmt: skip


def _tensor(address: int, desc: Any) -> torch.Tensor:
    return torch.as_tensor(_Memory(address, tuple(desc.dims)), device="cuda")


_creators: list[Creator] = []
"""TensorRT keeps no reference to them."""


def register() -> None:
    """Make the plugin known to TensorRT in this process; a second call does nothing."""
    if not _creators:
        _creators.append(Creator())
        if not trt.get_plugin_registry().register_creator(_creators[0], NAMESPACE):
            raise RuntimeError(f"another plugin is registered as {NAME}@{VERSION}")
