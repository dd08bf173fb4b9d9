"""Computes a network with torch on the CPU, layer by layer, by TensorRT's definitions.

This proves a converter's numbers on any machine. It computes in float32 where the network says
float16 or bfloat16 matters only for storage: each layer's result is rounded to its declared type,
accumulation is wider, as it is in the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from compiler.convert.plugin import evaluate_plugin
from compiler.network.network import Network, Tensor

Value = torch.Tensor
Evaluator = Callable[..., Sequence[torch.Tensor]]


class EvaluationError(Exception):
    """A layer gave another dtype or shape than it declared."""


def evaluate(
    network: Network, inputs: Mapping[str, torch.Tensor], observe: bool = False
) -> dict[str, Value]:
    """The network's outputs by name; with `observe`, every graph value that it holds as well.

    Raises EvaluationError where a layer's result contradicts its declared dtype or sizes.
    """
    env: dict[str, Value] = {}
    for tensor in network.inputs:
        env[tensor.name] = _claimed(tensor, inputs[tensor.name], "input")
    uses = _last_uses(network) if not observe else {}
    for position, layer in enumerate(network.layers):
        values = [None if t is None else _read(t, env) for t in layer.inputs]
        results = EVALUATORS[layer.kind](layer.attributes, *values)
        for tensor, value in zip(layer.outputs, results, strict=True):
            env[tensor.name] = _claimed(tensor, value, f"{layer.kind} of {layer.node}")
        for name in uses.get(position, ()):
            env.pop(name, None)
    outputs = {name: _read(tensor, env) for name, tensor in network.outputs}
    if observe:
        outputs |= {name: _read(tensor, env) for name, tensor in network.nodes.items()}
    return outputs


def _read(tensor: Tensor, env: Mapping[str, Value]) -> Value:
    return tensor.constant if tensor.constant is not None else env[tensor.name]


def _claimed(tensor: Tensor, value: Value, what: str) -> Value:
    fits = tensor.ndim == value.ndim and all(
        declared in (None, found)
        for declared, found in zip(tensor.shape, value.shape, strict=False)
    )
    if value.dtype != tensor.dtype or not fits:
        raise EvaluationError(
            f"{what}: declared {tensor.dtype} {tensor.shape}, got {value.dtype} {tuple(value.shape)}"
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


def _wide(*tensors: Value | None) -> list[Any]:
    """float16 and bfloat16 as float32: engines accumulate wider than they store."""
    narrow = (torch.float16, torch.bfloat16)
    return [t.float() if t is not None and t.dtype in narrow else t for t in tensors]


def _sizes(static: Sequence[int] | None, tensor: Value | None) -> list[int]:
    if static is not None:
        return list(static)
    assert tensor is not None
    return [int(n) for n in tensor]


def _one(function: Callable[..., Value]) -> Evaluator:
    """An evaluator with one result, computed wide and rounded to the first input's dtype."""

    def run(attributes: Mapping[str, Any], *inputs: Value | None) -> list[Value]:
        first = inputs[0]
        assert first is not None
        return [function(attributes, *_wide(*inputs)).to(first.dtype)]

    return run


UNARY: dict[str, Callable[[Value], Value]] = {
    "EXP": torch.exp, "LOG": torch.log, "SQRT": torch.sqrt, "RECIP": torch.reciprocal,
    "ABS": torch.abs, "NEG": torch.neg, "SIN": torch.sin, "COS": torch.cos, "TAN": torch.tan,
    "SINH": torch.sinh, "COSH": torch.cosh, "ASIN": torch.asin, "ACOS": torch.acos,
    "ATAN": torch.atan, "ASINH": torch.asinh, "ACOSH": torch.acosh, "ATANH": torch.atanh,
    "CEIL": torch.ceil, "FLOOR": torch.floor, "ERF": torch.erf, "NOT": torch.logical_not,
    "SIGN": torch.sign, "ROUND": torch.round, "ISINF": torch.isinf, "ISNAN": torch.isnan,
}  # fmt: skip

ACTIVATIONS: dict[str, Callable[[Value, float, float], Value]] = {
    "RELU": lambda x, a, b: torch.relu(x),
    "SIGMOID": lambda x, a, b: torch.sigmoid(x),
    "TANH": lambda x, a, b: torch.tanh(x),
    "LEAKY_RELU": lambda x, a, b: F.leaky_relu(x, a),
    "ELU": lambda x, a, b: F.elu(x, a),
    "SELU": lambda x, a, b: b * torch.where(x > 0, x, a * torch.expm1(x)),
    "SOFTSIGN": lambda x, a, b: F.softsign(x),
    "SOFTPLUS": lambda x, a, b: a * torch.logaddexp(b * x, torch.zeros(())),
    "CLIP": lambda x, a, b: torch.where(x.isnan(), a, x.clamp(a, b)),
    "HARD_SIGMOID": lambda x, a, b: (a * x + b).clamp(0, 1),
    "SCALED_TANH": lambda x, a, b: a * torch.tanh(b * x),
    "THRESHOLDED_RELU": lambda x, a, b: torch.where(x > a, x, torch.zeros(())),
    "GELU_ERF": lambda x, a, b: F.gelu(x),
    "GELU_TANH": lambda x, a, b: F.gelu(x, approximate="tanh"),
}

ELEMENTWISE: dict[str, Callable[[Value, Value], Value]] = {
    "SUM": torch.add, "PROD": torch.mul,
    # As engines do: a NaN in the first operand stays, one in the second is passed over.
    "MAX": lambda a, b: torch.where(a < b, b, a), "MIN": lambda a, b: torch.where(a > b, b, a),
    "SUB": torch.sub, "POW": torch.pow, "AND": torch.logical_and, "OR": torch.logical_or,
    "XOR": torch.logical_xor, "EQUAL": torch.eq, "GREATER": torch.gt, "LESS": torch.lt,
    "FLOOR_DIV": torch.floor_divide,
    "DIV": lambda a, b: a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc"),
}  # fmt: skip

REDUCE: dict[str, Callable[[Value, tuple[int, ...], bool], Value]] = {
    "SUM": lambda x, d, k: x.sum(d, keepdim=k),
    "AVG": lambda x, d, k: x.mean(d, keepdim=k),
    "MAX": lambda x, d, k: _extreme(x, d, k, -math.inf),
    "MIN": lambda x, d, k: _extreme(x, d, k, math.inf),
    "PROD": lambda x, d, k: _product(x, d, k),
}


def _extreme(x: Value, axes: tuple[int, ...], keep: bool, worst: float) -> Value:
    """The largest or smallest, NaN passed over; of no elements, what is worse than any."""
    if 0 in x.shape:
        limits = None if x.is_floating_point() else torch.iinfo(x.dtype)
        known = worst if limits is None else limits.min if worst < 0 else limits.max
        return x.sum(axes, keepdim=keep, dtype=x.dtype).fill_(known)
    x = _skip_nan(x, worst)
    return x.amax(axes, keepdim=keep) if worst < 0 else x.amin(axes, keepdim=keep)


def _skip_nan(x: Value, other: float) -> Value:
    return torch.where(x.isnan(), other, x) if x.is_floating_point() else x


def _product(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _elementwise(attributes: Mapping[str, Any], a: Value, b: Value) -> list[Value]:
    wide_a, wide_b = _wide(a, b)
    result = ELEMENTWISE[attributes["op"]](wide_a, wide_b)
    return [result if result.dtype == torch.bool else result.to(a.dtype)]


def _unary(attributes: Mapping[str, Any], x: Value) -> list[Value]:
    result = UNARY[attributes["op"]](*_wide(x))
    return [result if result.dtype == torch.bool else result.to(x.dtype)]


def _cast(attributes: Mapping[str, Any], x: Value) -> list[Value]:
    dtype = attributes["dtype"]
    if x.is_floating_point() and dtype in (torch.int32, torch.int64):
        # Engines saturate, where C++ and torch leave the result open.
        limits = torch.iinfo(dtype)
        nan = 0 if dtype == torch.int32 else limits.min
        wide = x.double()
        exact = wide.nan_to_num(0.0).clamp(-(2.0**62), 2.0**62).to(torch.int64)
        bounded = exact.clamp(limits.min, limits.max)
        bounded = torch.where(wide >= -float(limits.min), limits.max, bounded)
        bounded = torch.where(wide <= float(limits.min), limits.min, bounded)
        return [torch.where(wide.isnan(), nan, bounded).to(dtype)]
    return [x.to(dtype)]


def _matmul(attributes: Mapping[str, Any], a: Value, b: Value) -> Value:
    a = a.mT if attributes["transpose_a"] else a
    b = b.mT if attributes["transpose_b"] else b
    return a @ b


def _topk(attributes: Mapping[str, Any], x: Value, k: Value | None) -> list[Value]:
    count = attributes["k"] if k is None else int(k)
    largest = attributes["op"] == "MAX"
    values, indices = torch.sort(x, dim=attributes["axis"], descending=largest, stable=True)
    return [part.narrow(attributes["axis"], 0, count) for part in (values, indices)]


def _normalization(attributes: Mapping[str, Any], x: Value, scale: Value, bias: Value) -> Value:
    axes, groups = attributes["axes"], attributes["groups"]
    grouped = x
    if groups > 1:
        grouped = x.reshape(x.shape[0], groups, -1)
        axes = (2,)
    mean = grouped.mean(axes, keepdim=True)
    variance = ((grouped - mean) ** 2).mean(axes, keepdim=True)
    normal = ((grouped - mean) / torch.sqrt(variance + attributes["epsilon"])).reshape(x.shape)
    return normal * scale + bias


def _attention(
    attributes: Mapping[str, Any], q: Value, k: Value, v: Value, mask: Value | None
) -> Value:
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
    scores = q @ k.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    if attributes["causal"]:
        keep = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        scores = scores.masked_fill(~keep, -math.inf)
    return torch.softmax(scores, -1) @ v


def _padding(attributes: Mapping[str, Any]) -> list[int]:
    """`F.pad`'s order: last dimension first, before and after."""
    result: list[int] = []
    for before, after in zip(
        reversed(attributes["pre"]), reversed(attributes["post"]), strict=True
    ):
        result += [before, after]
    return result


def _convolution(
    attributes: Mapping[str, Any], x: Value, kernel: Value, bias: Value | None
) -> Value:
    function = F.conv2d if x.ndim == 4 else F.conv3d
    return function(
        F.pad(x, _padding(attributes)), kernel, bias, stride=attributes["stride"],
        dilation=attributes["dilation"], groups=attributes["groups"],
    )  # fmt: skip


def _deconvolution(
    attributes: Mapping[str, Any], x: Value, kernel: Value, bias: Value | None
) -> Value:
    function = F.conv_transpose2d if x.ndim == 4 else F.conv_transpose3d
    full = function(
        x, kernel, bias, stride=attributes["stride"], dilation=attributes["dilation"],
        groups=attributes["groups"],
    )  # fmt: skip
    return F.pad(full, [-n for n in _padding(attributes)])


def _pooling(attributes: Mapping[str, Any], x: Value) -> Value:
    rank, window, stride = x.ndim - 2, attributes["window"], attributes["stride"]
    is_max = attributes["op"] == "MAX"
    padding = list(attributes["post"])
    if attributes["ceil"]:
        for i in range(rank):
            size = x.shape[2 + i] + attributes["pre"][i] + padding[i]
            padding[i] += (-(size - window[i])) % stride[i]
    order = _padding({"pre": attributes["pre"], "post": padding})
    given = _skip_nan(x, -math.inf) if is_max else x
    padded = F.pad(given, order, value=-math.inf if is_max else 0.0)
    if is_max:
        return (F.max_pool2d if rank == 2 else F.max_pool3d)(padded, window, stride)
    pool = F.avg_pool2d if rank == 2 else F.avg_pool3d
    total = pool(padded, window, stride, divisor_override=1)
    if not attributes["exclude_padding"]:
        return total / float(math.prod(window))  # of what ceil mode adds, too
    counted = F.pad(torch.ones_like(x), order)
    return total / pool(counted, window, stride, divisor_override=1)


def _reshape(attributes: Mapping[str, Any], x: Value, sizes: Value | None) -> list[Value]:
    return [x.reshape(_sizes(attributes["sizes"], sizes))]


def _slice(
    attributes: Mapping[str, Any], x: Value, start: Value | None, sizes: Value | None,
    stride: Value | None, fill: Value | None,
) -> list[Value]:  # fmt: skip
    starts = _sizes(attributes["start"], start)
    lengths = _sizes(attributes["sizes"], sizes)
    strides = _sizes(attributes["stride"], stride)
    mode = attributes["mode"]
    outside = torch.zeros((), dtype=torch.bool)
    result = x
    for axis, (first, length, step) in enumerate(zip(starts, lengths, strides, strict=True)):
        size = x.shape[axis]
        index = first + torch.arange(length) * step
        wrong = (index < 0) | (index >= size)
        if mode == "STRICT_BOUNDS" and bool(wrong.any()):
            raise EvaluationError(
                f"slice of size {size} reads index {index[wrong][0].item()} on axis {axis}"
            )
        if mode == "WRAP":
            index = index % size
        elif mode == "CLAMP":
            index = index.clamp(0, size - 1)
        elif mode == "REFLECT":
            index = _reflect(index, size)
        elif mode == "FILL":
            outside = outside | wrong.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
            index = index.clamp(0, max(size - 1, 0))
        if mode == "FILL" and size == 0:
            result = result.new_zeros((*result.shape[:axis], length, *result.shape[axis + 1 :]))
        else:
            result = result.index_select(axis, index)
    if mode == "FILL":
        value = fill if fill is not None else torch.zeros((), dtype=x.dtype)
        result = torch.where(outside, value.to(x.dtype), result)
    return [result.contiguous()]


def _reflect(index: Value, size: int) -> Value:
    if size == 1:
        return torch.zeros_like(index)
    period = 2 * (size - 1)
    index = index.abs() % period
    return torch.where(index >= size, period - index, index)


def _gather_nd(attributes: Mapping[str, Any], x: Value, indices: Value) -> list[Value]:
    batch = attributes["batch_dims"]
    depth = indices.shape[-1]
    lead = [
        torch.arange(n).reshape([-1 if j == i else 1 for j in range(indices.ndim - 1)])
        for i, n in enumerate(x.shape[:batch])
    ]
    picks = [indices[..., i] for i in range(depth)]
    return [x[(*lead, *picks)]]


def _scatter_nd(
    attributes: Mapping[str, Any], x: Value, indices: Value, updates: Value
) -> list[Value]:
    result = x.clone()
    result[tuple(indices[..., i] for i in range(indices.shape[-1]))] = updates
    return [result]


def _linspace(
    attributes: Mapping[str, Any], size: Value | None, start: Value, step: Value
) -> list[Value]:
    (count,) = _sizes(attributes["sizes"], size)
    return [(start + torch.arange(count).to(start.dtype) * step).to(start.dtype)]


def _loop(attributes: Mapping[str, Any], *state: Value) -> list[Value]:
    body: Network = attributes["body"]
    values = list(state)
    for _ in range(attributes["count"]):
        feeds = {tensor.name: v for tensor, v in zip(body.inputs, values, strict=True)}
        found = evaluate(body, feeds)
        values = [found[name] for name, _ in body.outputs]
    return values


RESIZE = {"NEAREST": "nearest", "LINEAR": "linear", "CUBIC": "cubic"}


def _resize(attributes: Mapping[str, Any], x: Value, sizes: Value | None) -> Value:
    """By the definition: each output coordinate maps to an input coordinate, then 1-D weights per axis."""
    given = attributes["scales"]
    if attributes["sizes"] is not None or sizes is not None:
        target = _sizes(attributes["sizes"], sizes)
    else:
        target = [math.floor(n * s) for n, s in zip(x.shape, given, strict=True)]
    result = x
    for axis, (size, wanted) in enumerate(zip(x.shape, target, strict=True)):
        if size == wanted and (given is None or given[axis] == 1.0):
            continue
        scale = given[axis] if given is not None else wanted / size
        position = torch.arange(wanted, dtype=torch.float32)
        if attributes["coordinates"] == "ALIGN_CORNERS":
            source = position * ((size - 1) / (wanted - 1)) if wanted > 1 else position * 0
        elif attributes["coordinates"] == "HALF_PIXEL":
            source = (position + 0.5) / scale - 0.5
        else:
            source = position / scale
        result = _interpolate(result, axis, source, attributes)
    return result


def _interpolate(x: Value, axis: int, source: Value, attributes: Mapping[str, Any]) -> Value:
    size = x.shape[axis]
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]

    def pick(index: Value) -> Value:
        return x.index_select(axis, index.clamp(0, size - 1).long())

    if attributes["mode"] == "NEAREST":
        rules: dict[str, Callable[[Value], Value]] = {
            "FLOOR": torch.floor, "CEIL": torch.ceil,
            "HALF_UP": lambda s: torch.floor(s + 0.5), "HALF_DOWN": lambda s: torch.ceil(s - 0.5),
        }  # fmt: skip
        return pick(rules[attributes["rounding"]](source))
    base = torch.floor(source)
    fraction = source - base
    if attributes["mode"] == "LINEAR":
        source = source.clamp(0, size - 1)
        base = torch.floor(source)
        fraction = (source - base).reshape(shape)
        return pick(base) * (1 - fraction) + pick(base + 1) * fraction
    a = attributes["cubic"]
    total = torch.zeros(())
    for offset in (-1, 0, 1, 2):
        d = (fraction - offset).abs()
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
        weight = torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros(())))
        total = total + pick(base + offset) * weight.reshape(shape)
    return total


def _grid_sample(attributes: Mapping[str, Any], x: Value, grid: Value) -> Value:
    modes = {"LINEAR": "bilinear", "NEAREST": "nearest", "CUBIC": "bicubic"}
    paddings = {"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}
    return F.grid_sample(
        x, grid, mode=modes[attributes["mode"]], padding_mode=paddings[attributes["padding"]],
        align_corners=attributes["align_corners"],
    )  # fmt: skip


EVALUATORS: dict[str, Evaluator] = {
    "identity": lambda a, x: [x.clone()],
    "cast": _cast,
    "unary": _unary,
    "activation": _one(lambda a, x: ACTIVATIONS[a["op"]](x, a["alpha"], a["beta"])),
    "elementwise": _elementwise,
    "select": lambda a, c, x, y: [torch.where(c, x, y)],
    "reduce": _one(lambda a, x: REDUCE[a["op"]](x, a["axes"], a["keep"])),
    "softmax": _one(lambda a, x: torch.softmax(x, a["axis"])),
    "cumulative": _one(lambda a, x: torch.cumsum(x, a["axis"])),
    "topk": _topk,
    "matmul": _one(_matmul),
    "einsum": _one(lambda a, *x: torch.einsum(a["equation"], *x)),
    "normalization": _one(_normalization),
    "attention": _one(_attention),
    "convolution": _one(_convolution),
    "deconvolution": _one(_deconvolution),
    "pooling": _one(_pooling),
    "resize": _one(_resize),
    "grid_sample": _one(_grid_sample),
    "shape": lambda a, x: [torch.tensor(x.shape, dtype=torch.int64)],
    "reshape": _reshape,
    "transpose": lambda a, x: [x.permute(a["order"]).contiguous()],
    "unsqueeze": lambda a, x: [_unsqueeze(x, a["axes"])],
    "squeeze": lambda a, x: [x.squeeze(a["axes"])],
    "slice": _slice,
    "concat": lambda a, *x: [torch.cat(x, a["axis"])],
    "gather": lambda a, x, i: [_gather(x, i, a["axis"])],
    "gather_elements": lambda a, x, i: [torch.gather(x, a["axis"], i.long())],
    "gather_nd": _gather_nd,
    "scatter_elements": lambda a, x, i, u: [torch.scatter(x, a["axis"], i.long(), u)],
    "scatter_nd": _scatter_nd,
    "linspace": _linspace,
    "loop": _loop,
    "plugin": evaluate_plugin,
}


def _unsqueeze(x: Value, axes: Sequence[int]) -> Value:
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def _gather(x: Value, indices: Value, axis: int) -> Value:
    if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= x.shape[axis]):
        raise EvaluationError(f"gather: index outside 0..{x.shape[axis] - 1}")
    flat = x.index_select(axis, indices.reshape(-1).long())
    return flat.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))
