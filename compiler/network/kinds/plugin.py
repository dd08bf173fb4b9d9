"""The kind that calls a user's library: plugin, for `trt` targets (TensorRT-RTX has no plugins).

On the CPU the operator's own torch implementation computes what the plugin does on the GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from compiler.network.emit import Emitter
from compiler.network.kind import Attributes, Kind, Value, method
from compiler.network.network import Layer, Network, Shape, Tensor
from compiler.network.recorder import Recorder


class Plugin(Kind):
    """IPluginV3Layer."""

    name = "plugin"

    @staticmethod
    def write(
        net: Recorder, inputs: tuple[Tensor, ...], attributes: Attributes,
        outputs: Sequence[tuple[torch.dtype, Shape]],
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """IPluginV3Layer, with the attributes that convert/plugin.py makes."""
        return net.record(Plugin, inputs, attributes, outputs, fold=False)

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        """Add the plugin. RuntimeError if the plugin's library is not loaded."""
        registry = getattr(e.trt, "get_plugin_registry", None)
        if registry is None:
            raise RuntimeError(f"{e.trt.__name__} has no plugins")
        name, version, namespace = a["name"], a["version"], a["namespace"]
        if a["ahead_of_time"]:
            # By the signatures of TensorRT 11.4: 10.6 has no such plugins, so none was ever built.
            plugin = getattr(getattr(e.trt.plugin.op, namespace), name)
            return e.net.add_plugin(plugin(*map(e.tensor, layer.inputs), **a["fields"]), aot=True)
        creator = registry().get_creator(name, version, namespace)
        if creator is None:
            raise RuntimeError(
                f"no plugin {name!r} of version {version!r} in namespace {namespace!r} is "
                "registered; name a function under `plugins:` that registers it"
            )
        fields = [_field(e.trt, field, value) for field, value in a["fields"].items()]
        collection = e.trt.PluginFieldCollection(fields)
        plugin = creator.create_plugin(name, collection, e.trt.TensorRTPhase.BUILD)
        e.keep.append(plugin)  # one that is written in Python dies with its last reference there
        return e.net.add_plugin_v3([e.tensor(t) for t in layer.inputs], [], plugin)

    @staticmethod
    def evaluate(a: Attributes, *values: Value) -> list[Value]:
        given = dict(zip(a["tensors"], values, strict=True))
        return call_operator(a["op"], a["fields"] | given)


def has_plugins(network: Network) -> bool:
    """Whether a network has layers of any kind of plugin."""
    return any(layer.kind == Plugin.name for layer in network.layers)


def plugins_of(network: Network) -> tuple[str, ...]:
    """The plugins that a network's engine will call, as a bundle names them. It holds the kernels of
    ahead-of-time plugins, and calls none of these."""
    found = set()
    for layer in network.layers:
        if layer.kind == Plugin.name and not layer.attributes["ahead_of_time"]:
            a = layer.attributes
            found.add("@".join(filter(None, (a["name"], a["version"], a["namespace"]))))
    return tuple(sorted(found))


def call_operator(op: str, arguments: Attributes) -> list[torch.Tensor]:
    """The results of torch's operator `mylib.op.default`. AttributeError if it is not registered."""
    namespace, name, overload = op.split(".")
    function = getattr(getattr(getattr(torch.ops, namespace), name), overload)
    found = function(**arguments)
    return list(found) if isinstance(found, list | tuple) else [found]


def _field(trt: Any, name: str, value: Any) -> Any:
    import numpy

    kinds = {"f": trt.PluginFieldType.FLOAT64, "i": trt.PluginFieldType.INT64}
    array = numpy.atleast_1d(numpy.asarray(int(value) if isinstance(value, bool) else value))
    return trt.PluginField(name, array, kinds[array.dtype.kind])


KINDS: tuple[type[Kind], ...] = (Plugin,)


class Plugins(Recorder):
    """This kind as a method."""

    plugin = method(Plugin.write)
