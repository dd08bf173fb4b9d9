"""Converters that write a TensorRT plugin: for `trt` targets, since TensorRT-RTX has no plugins.

A plugin is named `Name`, `Name@version` or `Name@version@namespace`, an ahead-of-time one
`namespace::name`. It gets the operator's tensors as its inputs, and its other arguments as fields by the
schema's names. On the CPU the operator's own torch implementation stands for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from compiler.convert.schema import parameters
from compiler.network.kinds.plugin import call_operator
from compiler.network.network import Tensor
from enginebundle.runtimes.plugins import is_ahead_of_time, split

SOME_SIZE = 8
"""Stands for each dynamic size while the operator is asked for the rank of its results."""


def plugin_converter(op: str, plugin: str) -> Callable[..., Any]:
    """A converter of `op` that adds the plugin; ranks and dtypes of the results are the operator's."""
    name, version, namespace = split(plugin)
    names = parameters(op) or ()

    def convert(net: Any, **arguments: Any) -> Any:
        tensors = {n: a for n, a in arguments.items() if isinstance(a, Tensor)}
        fields = {n: a for n, a in arguments.items() if n not in tensors and a is not None}
        for field, value in fields.items():
            _check_field(field, value)
        attributes = {
            "name": name,
            "version": version,
            "namespace": namespace,
            "ahead_of_time": is_ahead_of_time(plugin),
            "fields": fields,
            "op": op,
            "tensors": tuple(tensors),
        }
        examples = {n: _example(tensor) for n, tensor in tensors.items()}
        outputs = [(r.dtype, (None,) * r.ndim) for r in call_operator(op, fields | examples)]
        made = net.plugin(tuple(tensors.values()), attributes, outputs)
        return made[0] if len(made) == 1 else made

    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    kinds = [inspect.Parameter(n, positional) for n in ("net", *names)]
    convert.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]
    return convert


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
