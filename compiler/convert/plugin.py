"""Converters that write a TensorRT plugin: for `trt` targets, since TensorRT-RTX has no plugins.

A plugin of a library that the builder has loaded is named `Name`, `Name@version` or
`Name@version@namespace`. It gets the operator's tensors as its inputs, and its other arguments as
fields by the schema's names. On the CPU the operator's own torch implementation stands for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from compiler.convert.schema import parameters
from compiler.network.network import Tensor

SOME_SIZE = 8
"""Stands for each dynamic size while the operator is asked for the rank of its results."""


def plugin_converter(op: str, plugin: str) -> Callable[..., Any]:
    """A converter of `op` that adds the plugin; ranks and dtypes of the results are the operator's."""
    name, _, rest = plugin.partition("@")
    version, _, namespace = rest.partition("@")
    names = parameters(op) or ()

    def convert(net: Any, **arguments: Any) -> Any:
        tensors = {n: a for n, a in arguments.items() if isinstance(a, Tensor)}
        fields = {n: a for n, a in arguments.items() if n not in tensors and a is not None}
        for field, value in fields.items():
            _check_field(field, value)
        attributes = {
            "name": name,
            "version": version or "1",
            "namespace": namespace,
            "fields": fields,
            "op": op,
            "tensors": tuple(tensors),
        }
        examples = {n: _example(tensor) for n, tensor in tensors.items()}
        outputs = [
            (r.dtype, (None,) * r.ndim) for r in _results(operator(op)(**(fields | examples)))
        ]
        made = net.plugin(tuple(tensors.values()), attributes, outputs)
        return made[0] if len(made) == 1 else made

    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    kinds = [inspect.Parameter(n, positional) for n in ("net", *names)]
    convert.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]
    return convert


def operator(op: str) -> Any:
    """`mylib.op.default` as torch's operator. AttributeError if nobody declared it."""
    namespace, name, overload = op.split(".")
    return getattr(getattr(getattr(torch.ops, namespace), name), overload)


def evaluate_plugin(attributes: Mapping[str, Any], *values: torch.Tensor) -> Sequence[torch.Tensor]:
    """The operator's own torch implementation, for what the plugin computes on the GPU."""
    given = dict(zip(attributes["tensors"], values, strict=True))
    return _results(operator(attributes["op"])(**(attributes["fields"] | given)))


def emit_plugin(emitter: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """Add the plugin to a network. RuntimeError if the plugin's library is not loaded."""
    trt = emitter.trt
    registry = getattr(trt, "get_plugin_registry", None)
    if registry is None:
        raise RuntimeError(f"{trt.__name__} has no plugins")
    name, version, namespace = (attributes[key] for key in ("name", "version", "namespace"))
    creator = registry().get_creator(name, version, namespace)
    if creator is None:
        raise RuntimeError(
            f"no plugin {name!r} of version {version!r} in namespace {namespace!r} is registered; "
            "load its library where the engine is built"
        )
    fields = [_field(trt, field, value) for field, value in attributes["fields"].items()]
    plugin = creator.create_plugin(name, trt.PluginFieldCollection(fields), trt.TensorRTPhase.BUILD)
    return emitter.net.add_plugin_v3(list(inputs), [], plugin)


def _field(trt: Any, name: str, value: Any) -> Any:
    import numpy

    kinds = {"f": trt.PluginFieldType.FLOAT64, "i": trt.PluginFieldType.INT64}
    array = numpy.atleast_1d(numpy.asarray(int(value) if isinstance(value, bool) else value))
    return trt.PluginField(name, array, kinds[array.dtype.kind])


def _check_field(name: str, value: Any) -> None:
    items = value if isinstance(value, list | tuple) else [value]
    wrong = [item for item in items if not isinstance(item, bool | int | float)]
    if wrong:
        raise ValueError(
            f"argument {name!r}: a plugin's field holds numbers, got a {type(wrong[0]).__name__}"
        )


def _example(tensor: Tensor) -> torch.Tensor:
    sizes = [SOME_SIZE if n is None else n for n in tensor.shape]
    return torch.empty(sizes, dtype=tensor.dtype, device="meta")


def _results(value: Any) -> list[torch.Tensor]:
    return list(value) if isinstance(value, list | tuple) else [value]
