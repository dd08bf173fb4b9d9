"""Replays a network into TensorRT's `INetworkDefinition`.

One function a layer kind, the same for `tensorrt` and `tensorrt_rtx`: the module is an argument.
Weights are handed over by pointer; `Emitted.keep` must live until the engine is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from compiler.convert.plugin import emit_plugin
from compiler.network.network import Layer, Network, Tensor

DTYPES = {
    torch.float32: "FLOAT", torch.float16: "HALF", torch.bfloat16: "BF16", torch.int32: "INT32",
    torch.int64: "INT64", torch.bool: "BOOL", torch.uint8: "UINT8", torch.int8: "INT8",
}  # fmt: skip


class EmitError(Exception):
    """TensorRT refused a layer, or inferred another shape than ours."""

    def __init__(self, node: str, message: str) -> None:
        super().__init__(message)
        self.node = node


@dataclass(frozen=True)
class Emitted:
    """What must outlive the build: the tensors behind the weights."""

    keep: tuple[torch.Tensor, ...]


class Emitter:
    """Writes one network. `trt` is the TensorRT module, `definition` its INetworkDefinition."""

    def __init__(self, trt: Any, definition: Any) -> None:
        self.trt = trt
        self.net = definition
        self.keep: list[torch.Tensor] = []
        self._tensors: dict[str, Any] = {}

    def emit(self, network: Network) -> Emitted:
        """Add every layer and mark the outputs. EmitError names the graph node to blame."""
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
        return Emitted(tuple(self.keep))

    def _layer(self, layer: Layer, position: int) -> None:
        try:
            added = EMITTERS[layer.kind](self, layer, layer.attributes)
        except (AttributeError, TypeError, RuntimeError, ValueError) as error:
            # AttributeError: where TensorRT gives None for a layer.
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
        """The layers of a loop's body, on ITensors for its inputs."""
        for tensor, given in zip(body.inputs, inputs, strict=True):
            self._tensors[tensor.name] = given
        for position, layer in enumerate(body.layers):
            self._layer(layer, position)

    # -- used by the emitters --------------------------------------------------------------

    def dtype(self, dtype: torch.dtype) -> Any:
        return getattr(self.trt.DataType, DTYPES[dtype])

    def weights(self, value: torch.Tensor) -> Any:
        """A pointer to the tensor's bytes, made contiguous; kept alive with the emitter."""
        value = value.detach().contiguous()
        self.keep.append(value)
        return self.trt.Weights(self.dtype(value.dtype), value.data_ptr(), value.numel())

    def tensor(self, tensor: Tensor | None) -> Any:
        """The ITensor of a value; a constant becomes a constant layer on first use."""
        assert tensor is not None
        found = self._tensors.get(tensor.name)
        if found is None:
            assert tensor.constant is not None, f"{tensor.name} is used before it exists"
            layer = self.net.add_constant(
                tuple(tensor.constant.shape), self.weights(tensor.constant)
            )
            if layer is None:
                raise EmitError(
                    "", f"TensorRT refused the constant {tensor.name} {tensor.constant.dtype}"
                )
            layer.name = tensor.name
            found = self._tensors[tensor.name] = layer.get_output(0)
        return found

    def axes(self, axes: Sequence[int]) -> Any:
        """Axes as the 1-dimensional constant that ISqueezeLayer and IUnsqueezeLayer read."""
        value = torch.tensor(list(axes), dtype=torch.int64)
        return self.net.add_constant((len(axes),), self.weights(value)).get_output(0)


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


Attributes = Mapping[str, Any]


def _mask(axes: Sequence[int]) -> int:
    return sum(1 << axis for axis in axes)


def _plain(method: str, enum: str) -> Callable[[Emitter, Layer, Attributes], Any]:
    """An emitter for `add_<method>(inputs..., <enum>.<op>)`."""

    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        kind = getattr(getattr(e.trt, enum), a["op"])
        return getattr(e.net, f"add_{method}")(*(e.tensor(t) for t in layer.inputs), kind)

    return emit


def _activation(e: Emitter, layer: Layer, a: Attributes) -> Any:
    added = e.net.add_activation(e.tensor(layer.inputs[0]), getattr(e.trt.ActivationType, a["op"]))
    added.alpha, added.beta = a["alpha"], a["beta"]
    return added


def _reduce(e: Emitter, layer: Layer, a: Attributes) -> Any:
    op = getattr(e.trt.ReduceOperation, a["op"])
    return e.net.add_reduce(e.tensor(layer.inputs[0]), op, _mask(a["axes"]), a["keep"])


def _softmax(e: Emitter, layer: Layer, a: Attributes) -> Any:
    added = e.net.add_softmax(e.tensor(layer.inputs[0]))
    added.axes = 1 << a["axis"]
    return added


def _cumulative(e: Emitter, layer: Layer, a: Attributes) -> Any:
    axis = torch.tensor(a["axis"], dtype=torch.int32)
    constant = e.net.add_constant((), e.weights(axis)).get_output(0)
    op = e.trt.CumulativeOperation.SUM
    return e.net.add_cumulative(e.tensor(layer.inputs[0]), constant, op, False, False)


def _topk(e: Emitter, layer: Layer, a: Attributes) -> Any:
    x, k = layer.inputs
    op = getattr(e.trt.TopKOperation, a["op"])
    added = e.net.add_topk(e.tensor(x), op, a["k"] or 1, 1 << a["axis"], e.trt.DataType.INT64)
    if k is not None:
        added.set_input(1, e.tensor(k))
    return added


def _matmul(e: Emitter, layer: Layer, a: Attributes) -> Any:
    def operation(transpose: bool) -> Any:
        return e.trt.MatrixOperation.TRANSPOSE if transpose else e.trt.MatrixOperation.NONE

    left, right = (e.tensor(t) for t in layer.inputs)
    return e.net.add_matrix_multiply(
        left, operation(a["transpose_a"]), right, operation(a["transpose_b"])
    )


def _normalization(e: Emitter, layer: Layer, a: Attributes) -> Any:
    added = e.net.add_normalization_v2(*(e.tensor(t) for t in layer.inputs), _mask(a["axes"]))
    added.epsilon, added.num_groups = a["epsilon"], a["groups"]
    return added


def _attention(e: Emitter, layer: Layer, a: Attributes) -> Any:
    q, k, v, mask = layer.inputs
    kind = e.trt.CausalMaskKind.UPPER_LEFT if a["causal"] else e.trt.CausalMaskKind.NONE
    norm = e.trt.AttentionNormalizationOp.SOFTMAX
    added = e.net.add_attention_v2(e.tensor(q), e.tensor(k), e.tensor(v), norm, kind)
    if mask is not None:
        added.mask = e.tensor(mask)
    added.decomposable = True  # without it, float32 and large heads do not build
    return added


def _window(added: Any, a: Attributes) -> Any:
    added.stride_nd, added.pre_padding, added.post_padding = a["stride"], a["pre"], a["post"]
    return added


def _convolve(method: str) -> Callable[[Emitter, Layer, Attributes], Any]:
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        x, kernel, bias = layer.inputs
        assert kernel is not None
        maps = kernel.shape[0] if method == "convolution" else (kernel.shape[1] or 0) * a["groups"]
        empty = e.trt.Weights()
        known = kernel.constant is not None
        added = getattr(e.net, f"add_{method}_nd")(
            e.tensor(x), maps, kernel.shape[2:],
            e.weights(kernel.constant) if known and kernel.constant is not None else empty,
            e.weights(bias.constant) if bias is not None and bias.constant is not None else empty,
        )  # fmt: skip
        if added is None:
            return None
        if not known:
            added.set_input(1, e.tensor(kernel))
        if bias is not None and bias.constant is None:
            added.set_input(2, e.tensor(bias))
        added.dilation_nd, added.num_groups = a["dilation"], a["groups"]
        return _window(added, a)

    return emit


def _pooling(e: Emitter, layer: Layer, a: Attributes) -> Any:
    kind = getattr(e.trt.PoolingType, a["op"])
    added = e.net.add_pooling_nd(e.tensor(layer.inputs[0]), kind, a["window"])
    modes = e.trt.PaddingMode
    added.padding_mode = modes.EXPLICIT_ROUND_UP if a["ceil"] else modes.EXPLICIT_ROUND_DOWN
    if a["op"] == "AVERAGE":
        added.average_count_excludes_padding = a["exclude_padding"]
    return _window(added, a)


def _resize(e: Emitter, layer: Layer, a: Attributes) -> Any:
    x, sizes = layer.inputs
    added = e.net.add_resize(e.tensor(x))
    if a["scales"] is not None:
        added.scales = a["scales"]
    elif sizes is not None:
        added.set_input(1, e.tensor(sizes))
    else:
        added.shape = a["sizes"]
    added.resize_mode = getattr(e.trt.InterpolationMode, a["mode"])
    added.coordinate_transformation = getattr(
        e.trt.ResizeCoordinateTransformation, a["coordinates"]
    )
    if a["mode"] == "NEAREST":
        added.nearest_rounding = getattr(e.trt.ResizeRoundMode, a["rounding"])
    if a["mode"] == "CUBIC":
        added.cubic_coeff = a["cubic"]
    return added


def _grid_sample(e: Emitter, layer: Layer, a: Attributes) -> Any:
    added = e.net.add_grid_sample(*(e.tensor(t) for t in layer.inputs))
    added.interpolation_mode = getattr(e.trt.InterpolationMode, a["mode"])
    added.sample_mode = getattr(e.trt.SampleMode, a["padding"])
    added.align_corners = a["align_corners"]
    return added


def _reshape(e: Emitter, layer: Layer, a: Attributes) -> Any:
    x, sizes = layer.inputs
    added = e.net.add_shuffle(e.tensor(x))
    added.zero_is_placeholder = False
    if sizes is None:
        added.reshape_dims = a["sizes"]
    else:
        added.set_input(1, e.tensor(sizes))
    return added


def _transpose(e: Emitter, layer: Layer, a: Attributes) -> Any:
    added = e.net.add_shuffle(e.tensor(layer.inputs[0]))
    added.first_transpose = a["order"]
    return added


def _slice(e: Emitter, layer: Layer, a: Attributes) -> Any:
    x, start, sizes, stride, fill = layer.inputs
    assert x is not None
    zeros = (0,) * x.ndim
    added = e.net.add_slice(
        e.tensor(x),
        a["start"] or zeros,
        zeros if a["sizes"] is None else a["sizes"],
        a["stride"] or zeros,
    )
    for index, tensor in ((1, start), (2, sizes), (3, stride), (4, fill)):
        if tensor is not None:
            added.set_input(index, e.tensor(tensor))
    added.mode = getattr(e.trt.SampleMode, a["mode"])
    return added


def _concat(e: Emitter, layer: Layer, a: Attributes) -> Any:
    added = e.net.add_concatenation([e.tensor(t) for t in layer.inputs])
    added.axis = a["axis"]
    return added


def _gather(mode: str) -> Callable[[Emitter, Layer, Attributes], Any]:
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        x, indices = (e.tensor(t) for t in layer.inputs)
        added = e.net.add_gather_v2(x, indices, getattr(e.trt.GatherMode, mode))
        if mode == "ND":
            added.num_elementwise_dims = a["batch_dims"]
        else:
            added.axis = a["axis"]
        return added

    return emit


def _scatter(mode: str) -> Callable[[Emitter, Layer, Attributes], Any]:
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        added = e.net.add_scatter(
            *(e.tensor(t) for t in layer.inputs), getattr(e.trt.ScatterMode, mode)
        )
        if mode == "ELEMENT":
            added.axis = a["axis"]
        return added

    return emit


def _linspace(e: Emitter, layer: Layer, a: Attributes) -> Any:
    size, start, step = layer.inputs
    assert start is not None
    dims = a["sizes"] if a["sizes"] is not None else (1,)
    added = e.net.add_fill(dims, e.trt.FillOperation.LINSPACE, e.dtype(start.dtype))
    if size is not None:
        added.set_input(0, e.tensor(size))
    added.set_input(1, e.tensor(start))
    vector = e.net.add_shuffle(e.tensor(step))
    vector.reshape_dims = (1,)
    added.set_input(2, vector.get_output(0))
    return added


class _Finals:
    """A loop's results, each a layer of TensorRT's, as the outputs of one layer."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = layers
        self.name = ""

    def get_output(self, index: int) -> Any:
        return self.layers[index].get_output(0)


def _loop(e: Emitter, layer: Layer, a: Attributes) -> Any:
    body: Network = a["body"]
    loop = e.net.add_loop()
    count = torch.tensor(a["count"], dtype=torch.int64)
    limit = e.net.add_constant((), e.weights(count)).get_output(0)
    loop.add_trip_limit(limit, e.trt.TripLimit.COUNT)
    state = [loop.add_recurrence(e.tensor(tensor)) for tensor in layer.inputs]
    e.inner(body, [one.get_output(0) for one in state])
    for one, (_, tensor) in zip(state, body.outputs, strict=True):
        one.set_input(1, e.tensor(tensor))
    last = e.trt.LoopOutput.LAST_VALUE
    return _Finals([loop.add_loop_output(one.get_output(0), last) for one in state])


EMITTERS: dict[str, Callable[[Emitter, Layer, Attributes], Any]] = {
    "identity": lambda e, layer, a: e.net.add_identity(e.tensor(layer.inputs[0])),
    "cast": lambda e, layer, a: e.net.add_cast(e.tensor(layer.inputs[0]), e.dtype(a["dtype"])),
    "unary": _plain("unary", "UnaryOperation"),
    "elementwise": _plain("elementwise", "ElementWiseOperation"),
    "activation": _activation,
    "select": lambda e, layer, a: e.net.add_select(*(e.tensor(t) for t in layer.inputs)),
    "reduce": _reduce,
    "softmax": _softmax,
    "cumulative": _cumulative,
    "topk": _topk,
    "matmul": _matmul,
    "einsum": lambda e, layer, a: e.net.add_einsum(
        [e.tensor(t) for t in layer.inputs], a["equation"]
    ),
    "normalization": _normalization,
    "attention": _attention,
    "convolution": _convolve("convolution"),
    "deconvolution": _convolve("deconvolution"),
    "pooling": _pooling,
    "resize": _resize,
    "grid_sample": _grid_sample,
    "shape": lambda e, layer, a: e.net.add_shape(e.tensor(layer.inputs[0])),
    "reshape": _reshape,
    "transpose": _transpose,
    "unsqueeze": lambda e, layer, a: e.net.add_unsqueeze(
        e.tensor(layer.inputs[0]), e.axes(a["axes"])
    ),
    "squeeze": lambda e, layer, a: e.net.add_squeeze(e.tensor(layer.inputs[0]), e.axes(a["axes"])),
    "slice": _slice,
    "concat": _concat,
    "gather": _gather("DEFAULT"),
    "gather_elements": _gather("ELEMENT"),
    "gather_nd": _gather("ND"),
    "scatter_elements": _scatter("ELEMENT"),
    "scatter_nd": _scatter("ND"),
    "linspace": _linspace,
    "loop": _loop,
    "plugin": lambda e, layer, a: emit_plugin(e, [e.tensor(t) for t in layer.inputs], a),
}
