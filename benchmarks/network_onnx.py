"""A network as an ONNX model: to show through TensorRT's own parser that a fault is not ours.

    model(network) -> onnx.ModelProto with the same layers; Untold names a layer that has no counterpart

For static networks, and for the kinds that the parts which `gpu_layers.py` finds are made of. The `onnx`
package's reference evaluator says what is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from compiler.network.network import Layer, Network, Tensor


class Untold(Exception):
    """A layer has no counterpart here."""


OPERATORS: Mapping[str, Mapping[str, str]] = {
    "elementwise": {
        "SUM": "Add", "PROD": "Mul", "SUB": "Sub", "DIV": "Div", "MAX": "Max", "MIN": "Min",
        "POW": "Pow", "AND": "And", "OR": "Or", "XOR": "Xor", "EQUAL": "Equal",
        "GREATER": "Greater", "LESS": "Less",
    },
    "unary": {
        "EXP": "Exp", "LOG": "Log", "SQRT": "Sqrt", "RECIP": "Reciprocal", "ABS": "Abs",
        "NEG": "Neg", "SIN": "Sin", "COS": "Cos", "FLOOR": "Floor", "CEIL": "Ceil", "ERF": "Erf",
        "NOT": "Not", "SIGN": "Sign", "ROUND": "Round", "ISNAN": "IsNaN",
    },
    "activation": {"RELU": "Relu", "SIGMOID": "Sigmoid", "TANH": "Tanh"},
    "reduce": {
        "SUM": "ReduceSum", "AVG": "ReduceMean", "MAX": "ReduceMax", "MIN": "ReduceMin",
        "PROD": "ReduceProd",
    },
}  # fmt: skip
OPSET = 20


def model(network: Network) -> Any:
    """The model. Untold if a layer has no counterpart."""
    return _Writer().model(network)


class _Writer:
    def __init__(self) -> None:
        from onnx import helper

        self.helper = helper
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def model(self, network: Network) -> Any:
        for layer in network.layers:
            write = _WRITERS.get(layer.kind)
            if write is None:
                raise Untold(f"{layer.kind} of {layer.node}")
            write(self, layer, [self.name(t) for t in layer.inputs if t is not None])
        for name, tensor in network.outputs:
            self.add("Identity", [self.name(tensor)], name + "_out")
        graph = self.helper.make_graph(
            self.nodes,
            "part",
            [self._value(t.name, t) for t in network.inputs],
            [self._value(f"{name}_out", t) for name, t in network.outputs],
            list(self.constants.values()),
        )
        opset = self.helper.make_opsetid("", OPSET)
        return self.helper.make_model(graph, opset_imports=[opset], ir_version=9)

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(self.helper.make_node(operator, inputs, [output], **attributes))

    def name(self, tensor: Tensor) -> str:
        if tensor.constant is not None:
            self.constant(tensor.name, tensor.constant)
        return tensor.name

    def constant(self, name: str, value: torch.Tensor) -> str:
        from onnx import numpy_helper

        if name not in self.constants:
            array = value.detach().contiguous().numpy()
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def _value(self, name: str, tensor: Tensor) -> Any:
        return self.helper.make_tensor_value_info(name, self.dtype(tensor.dtype), tensor.shape)

    def dtype(self, dtype: torch.dtype) -> Any:
        return self.helper.np_dtype_to_tensor_dtype(torch.empty(0, dtype=dtype).numpy().dtype)


def _named(w: _Writer, layer: Layer, inputs: list[str]) -> None:
    """Kinds whose `op` says it all."""
    op = layer.attributes["op"]
    if op == "GELU_ERF":
        w.add("Gelu", inputs, layer.outputs[0].name)
        return
    if op not in OPERATORS[layer.kind]:
        raise Untold(f"{layer.kind} {op} of {layer.node}")
    w.add(OPERATORS[layer.kind][op], inputs, layer.outputs[0].name)


def _reduce(w: _Writer, layer: Layer, inputs: list[str]) -> None:
    (out,) = layer.outputs
    axes = w.constant(f"{out.name}_axes", torch.tensor(layer.attributes["axes"]))
    operator = OPERATORS["reduce"][layer.attributes["op"]]
    w.add(operator, [*inputs, axes], out.name, keepdims=int(layer.attributes["keep"]))


def _cast(w: _Writer, layer: Layer, inputs: list[str]) -> None:
    (out,) = layer.outputs
    w.add("Cast", inputs, out.name, to=w.dtype(out.dtype))


def _matmul(w: _Writer, layer: Layer, inputs: list[str]) -> None:
    (out,), given = layer.outputs, []
    for key, name, tensor in zip("ab", inputs, layer.inputs, strict=True):
        assert tensor is not None
        if layer.attributes[f"transpose_{key}"]:
            order = [*range(tensor.ndim - 2), tensor.ndim - 1, tensor.ndim - 2]
            w.add("Transpose", [name], f"{out.name}_{key}", perm=order)
            name = f"{out.name}_{key}"
        given.append(name)
    w.add("MatMul", given, out.name)


def _reshape(w: _Writer, layer: Layer, inputs: list[str]) -> None:
    (out,) = layer.outputs
    if not out.is_static:
        raise Untold(f"a reshape of {layer.node} to {out.shape}")
    w.add(
        "Reshape", [inputs[0], w.constant(f"{out.name}_sizes", torch.tensor(out.shape))], out.name
    )


def _normalization(w: _Writer, layer: Layer, inputs: list[str]) -> None:
    x, axes = layer.inputs[0], layer.attributes["axes"]
    assert x is not None
    if layer.attributes["groups"] != 1 or axes != tuple(range(x.ndim - len(axes), x.ndim)):
        raise Untold(f"a normalization of {layer.node} in groups, or over other than the last axes")
    epsilon = layer.attributes["epsilon"]
    name = layer.outputs[0].name
    w.add("LayerNormalization", inputs, name, axis=axes[0], epsilon=epsilon)


def _convolution(w: _Writer, layer: Layer, inputs: list[str]) -> None:
    a = layer.attributes
    w.add(
        "Conv", inputs, layer.outputs[0].name, strides=a["stride"], pads=[*a["pre"], *a["post"]],
        dilations=a["dilation"], group=a["groups"],
    )  # fmt: skip


def _slice(w: _Writer, layer: Layer, inputs: list[str]) -> None:
    a, (out,) = layer.attributes, layer.outputs
    start, sizes, stride = (a[key] for key in ("start", "sizes", "stride"))
    repeats = stride is not None and not any(start or ()) and set(stride) <= {0, 1}
    if len(inputs) == 2 and sizes is None and repeats:  # whole axes, and repeated ones
        w.add("Expand", inputs, out.name)
        return
    if len(inputs) > 1 or a["mode"] != "STRICT_BOUNDS" or min(stride) < 0:
        raise Untold(f"a slice of {layer.node} with {dict(a)}")
    ends = [s + (n - 1) * d + 1 for s, n, d in zip(start, sizes, stride, strict=True)]
    steps = [max(d, 1) for d in stride]
    parts = {"starts": start, "ends": ends, "axes": range(len(start)), "steps": steps}
    given = [w.constant(f"{out.name}_{k}", torch.tensor(list(v))) for k, v in parts.items()]
    w.add("Slice", [inputs[0], *given], f"{out.name}_cut")
    w.add(
        "Expand", [f"{out.name}_cut", w.constant(f"{out.name}_to", torch.tensor(sizes))], out.name
    )


def _with(operator: str, **names: str) -> Callable[[_Writer, Layer, list[str]], None]:
    """A kind that is this operator, with attributes of other names."""

    def write(w: _Writer, layer: Layer, inputs: list[str]) -> None:
        given = {theirs: layer.attributes[ours] for theirs, ours in names.items()}
        w.add(operator, inputs, layer.outputs[0].name, **given)

    return write


_WRITERS: Mapping[str, Callable[[_Writer, Layer, list[str]], None]] = {
    "elementwise": _named, "unary": _named, "activation": _named, "reduce": _reduce, "cast": _cast,
    "select": _with("Where"), "matmul": _matmul, "transpose": _with("Transpose", perm="order"),
    "reshape": _reshape, "softmax": _with("Softmax", axis="axis"), "identity": _with("Identity"),
    "normalization": _normalization, "convolution": _convolution, "slice": _slice,
    "concat": _with("Concat", axis="axis"), "gather": _with("Gather", axis="axis"),
}  # fmt: skip
