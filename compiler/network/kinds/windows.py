"""Kinds that slide a window over [n, c, *spatial]: convolution, deconvolution, pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from compiler.network.emit import Emitter
from compiler.network.kind import Attributes, Kind, Role, Value, accumulated_wide, method
from compiler.network.kinds.reductions import skip_nan
from compiler.network.network import Layer, Tensor
from compiler.network.recorder import Recorder, expect, static


class Convolution(Kind):
    """IConvolutionLayer."""

    name = "convolution"

    @staticmethod
    def write(
        net: Recorder, x: Tensor, kernel: Tensor, bias: Tensor | None, *, stride: Sequence[int],
        pre: Sequence[int], post: Sequence[int], dilation: Sequence[int], groups: int,
    ) -> Tensor:  # fmt: skip
        """IConvolutionLayer on [n, c, *spatial] with 2 or 3 spatial dims; kernel [o, c/groups, *k].

        Zeros that a slice layer put around x become the convolution's padding instead.
        """
        x, pre, post = _without_zeros(net, x, pre, post)
        spatial = tuple(
            None if size is None else (size + a + b - d * (k - 1) - 1) // s + 1
            for size, a, b, d, k, s in zip(
                x.shape[2:], pre, post, dilation, static(kernel)[2:], stride, strict=True
            )
        )
        attributes = _window(stride, pre, post) | {"dilation": tuple(dilation), "groups": groups}
        shape = (x.shape[0], kernel.shape[0], *spatial)
        return net.record(Convolution, (x, kernel, bias), attributes, [(x.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        kernel = layer.inputs[1]
        assert kernel is not None
        return _convolve(e, e.net.add_convolution_nd, kernel.shape[0], layer, a)

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, x: Value, kernel: Value, bias: Value | None) -> Value:
        function = F.conv2d if x.ndim == 4 else F.conv3d
        padded = F.pad(x, _padding(a["pre"], a["post"]))
        return function(padded, kernel, bias, a["stride"], 0, a["dilation"], a["groups"])


class Deconvolution(Kind):
    """IDeconvolutionLayer."""

    name = "deconvolution"

    @staticmethod
    def write(
        net: Recorder, x: Tensor, kernel: Tensor, bias: Tensor | None, *, stride: Sequence[int],
        pre: Sequence[int], post: Sequence[int], dilation: Sequence[int], groups: int,
    ) -> Tensor:  # fmt: skip
        """IDeconvolutionLayer; kernel [c, o/groups, *k]; pre and post are cut from the result.

        A negative post padding (torch's output_padding beyond the padding) is refused.
        """
        expect(min(post) >= 0, f"deconvolution: post padding {tuple(post)} is negative")
        spatial = tuple(
            None if size is None else (size - 1) * s + d * (k - 1) + 1 - a - b
            for size, a, b, d, k, s in zip(
                x.shape[2:], pre, post, dilation, static(kernel)[2:], stride, strict=True
            )
        )
        channels = static(kernel)[1] * groups
        attributes = _window(stride, pre, post) | {"dilation": tuple(dilation), "groups": groups}
        shape = (x.shape[0], channels, *spatial)
        return net.record(Deconvolution, (x, kernel, bias), attributes, [(x.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        kernel = layer.inputs[1]
        assert kernel is not None
        maps = (kernel.shape[1] or 0) * a["groups"]
        return _convolve(e, e.net.add_deconvolution_nd, maps, layer, a)

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, x: Value, kernel: Value, bias: Value | None) -> Value:
        function = F.conv_transpose2d if x.ndim == 4 else F.conv_transpose3d
        full = function(
            x, kernel, bias, stride=a["stride"], dilation=a["dilation"], groups=a["groups"]
        )
        return F.pad(full, [-n for n in _padding(a["pre"], a["post"])])


class Pooling(Kind):
    """IPoolingLayer."""

    name = "pooling"
    role = Role.REDUCTION

    @staticmethod
    def write(
        net: Recorder, x: Tensor, op: str, window: Sequence[int], *, stride: Sequence[int],
        pre: Sequence[int], post: Sequence[int], ceil: bool = False, exclude_padding: bool = True,
    ) -> Tensor:  # fmt: skip
        """IPoolingLayer (MAX or AVERAGE) on [n, c, *spatial] with 2 or 3 spatial dims."""
        spatial = tuple(
            None if size is None else ((size + a + b - k + (s - 1 if ceil else 0)) // s + 1)
            for size, a, b, k, s in zip(x.shape[2:], pre, post, window, stride, strict=True)
        )
        attributes = _window(stride, pre, post) | {
            "op": op, "window": tuple(window), "ceil": ceil, "exclude_padding": exclude_padding,
        }  # fmt: skip
        return net.record(Pooling, (x,), attributes, [(x.dtype, (*x.shape[:2], *spatial))])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        kind = getattr(e.trt.PoolingType, a["op"])
        added = e.net.add_pooling_nd(e.tensor(layer.inputs[0]), kind, a["window"])
        modes = e.trt.PaddingMode
        added.padding_mode = modes.EXPLICIT_ROUND_UP if a["ceil"] else modes.EXPLICIT_ROUND_DOWN
        if a["op"] == "AVERAGE":
            added.average_count_excludes_padding = a["exclude_padding"]
        return _set_window(added, a)

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, x: Value) -> Value:
        rank, window, stride = x.ndim - 2, a["window"], a["stride"]
        is_max = a["op"] == "MAX"
        post = list(a["post"])
        if a["ceil"]:
            for i in range(rank):
                size = x.shape[2 + i] + a["pre"][i] + post[i]
                post[i] += (-(size - window[i])) % stride[i]
        order = _padding(a["pre"], post)
        given = skip_nan(x, -math.inf) if is_max else x
        padded = F.pad(given, order, value=-math.inf if is_max else 0.0)
        if not x.numel():  # torch's functions refuse a plane of no channels
            spatial = zip(padded.shape[2:], window, stride, strict=True)
            return x.new_empty(*x.shape[:2], *((n - size) // step + 1 for n, size, step in spatial))
        if is_max:
            return (F.max_pool2d if rank == 2 else F.max_pool3d)(padded, window, stride)
        pool = F.avg_pool2d if rank == 2 else F.avg_pool3d
        total = pool(padded, window, stride, divisor_override=1)
        if not a["exclude_padding"]:
            return total / float(math.prod(window))  # counts what ceil mode adds, too
        counted = F.pad(torch.ones_like(x), order)
        return total / pool(counted, window, stride, divisor_override=1)


def _window(stride: Sequence[int], pre: Sequence[int], post: Sequence[int]) -> dict[str, Any]:
    return {"stride": tuple(stride), "pre": tuple(pre), "post": tuple(post)}


def _set_window(added: Any, a: Attributes) -> Any:
    added.stride_nd, added.pre_padding, added.post_padding = a["stride"], a["pre"], a["post"]
    return added


def _convolve(e: Emitter, add: Any, maps: int | None, layer: Layer, a: Attributes) -> Any:
    """Add a (de)convolution; a kernel or bias that is not constant becomes an input of the layer."""
    x, kernel, bias = layer.inputs
    assert kernel is not None
    empty = e.trt.Weights()
    added = add(
        e.tensor(x), maps, kernel.shape[2:],
        empty if kernel.constant is None else e.weights(kernel.constant, kernel.name),
        empty if bias is None or bias.constant is None else e.weights(bias.constant, bias.name),
    )  # fmt: skip
    if added is None:
        return None
    if kernel.constant is None:
        added.set_input(1, e.tensor(kernel))
    if bias is not None and bias.constant is None:
        added.set_input(2, e.tensor(bias))
    added.dilation_nd, added.num_groups = a["dilation"], a["groups"]
    return _set_window(added, a)


def _padding(pre: Sequence[int], post: Sequence[int]) -> list[int]:
    """`F.pad`'s order: last dimension first, before and after."""
    pairs = list(zip(pre, post, strict=True))
    return [n for pair in reversed(pairs) for n in pair]


def _without_zeros(
    net: Recorder, x: Tensor, pre: Sequence[int], post: Sequence[int]
) -> tuple[Tensor, Sequence[int], Sequence[int]]:
    """The input of a slice that put zeros around static spatial dims, and paddings that include them."""
    layer = net.producer(x)
    if layer is None or layer.kind != "slice" or layer.attributes["mode"] != "FILL":
        return x, pre, post
    source, _, lengths, _, fill = layer.inputs
    start, stride = layer.attributes["start"], layer.attributes["stride"]
    zero = fill is None or (fill.constant is not None and not bool(fill.constant.any()))
    plain = start is not None and stride is not None and set(stride) == {1} and not any(start[:2])
    if source is None or not zero or not plain or None in (*x.shape[2:], *source.shape[2:]):
        return x, pre, post
    sizes = zip(start[2:], x.shape[2:], source.shape[2:], strict=True)
    around = [(-first, first + (size or 0) - (old or 0)) for first, size, old in sizes]
    batch = x.shape[0] or _first_size_of(net, lengths)
    if batch != (source.shape[0] or source.name) or x.shape[1] != source.shape[1]:
        return x, pre, post
    if min(n for pair in around for n in pair) < 0:
        return x, pre, post
    before = [a + b for a, (b, _) in zip(pre, around, strict=True)]
    after = [a + b for a, (_, b) in zip(post, around, strict=True)]
    return source, before, after


def _first_size_of(net: Recorder, sizes: Tensor | None) -> str | None:
    """The name of the tensor whose first size a computed vector of sizes begins with, if any."""
    tensor: Tensor | None = sizes
    index: Tensor | None = None
    for kind in ("concat", "unsqueeze", "gather", "shape"):
        layer = net.producer(tensor) if tensor is not None else None
        if layer is None or layer.kind != kind:
            return None
        if kind == "gather":
            index = layer.inputs[1]
        tensor = layer.inputs[0]
    at_zero = index is not None and index.constant is not None and int(index.constant) == 0
    return tensor.name if tensor is not None and at_zero else None


KINDS: tuple[type[Kind], ...] = (Convolution, Deconvolution, Pooling)


class Windows(Recorder):
    """These kinds as methods."""

    convolution = method(Convolution.write)
    deconvolution = method(Deconvolution.write)
    pooling = method(Pooling.write)
