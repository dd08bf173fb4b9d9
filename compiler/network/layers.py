"""Records TensorRT layers, one method a layer kind, with TensorRT's own typing rules.

Every method returns new `Tensor`s with inferred dtype and shape and raises `NetworkError` where
TensorRT would refuse the layer. A layer whose inputs are all small constants is computed at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch

from compiler.network.network import Layer, Network, Shape, Size, Tensor

FOLD_LIMIT = 1 << 16
"""Constants of more elements than this are computed by the engine, not by the converter."""

MAX_RANK = 8
COMPARISONS = frozenset({"EQUAL", "GREATER", "LESS"})
LOGICAL = frozenset({"AND", "OR", "XOR"})
FLOATS = frozenset({torch.float32, torch.float16, torch.bfloat16})
DTYPES = FLOATS | {torch.int32, torch.int64, torch.bool, torch.uint8, torch.int8}


class NetworkError(ValueError):
    """A layer that TensorRT would refuse: what was expected and what was given."""


class Layers:
    """The recorder. One instance writes one network."""

    def __init__(self) -> None:
        self._inputs: list[Tensor] = []
        self._layers: list[Layer] = []
        self._count = 0
        self._producers: dict[str, Layer] = {}
        self.node = ""
        """Name of the graph node being converted; new layers and tensors are named after it."""
        self.declared: tuple[Shape, ...] = ()
        """The shape of each result of that node, as far as the graph knows it."""

    # -- borders ---------------------------------------------------------------------------

    def input(self, name: str, dtype: torch.dtype, shape: Shape) -> Tensor:
        """A network input; None marks a dynamic dimension."""
        _expect(dtype in DTYPES, f"input {name}: TensorRT has no {dtype}")
        tensor = Tensor(name, dtype, shape)
        self._inputs.append(tensor)
        return tensor

    def finish(self, outputs: Mapping[str, Tensor], nodes: Mapping[str, Tensor]) -> Network:
        """Freeze. An output that is an input, a constant or shared goes through an identity layer."""
        taken = {tensor.name for tensor in self._inputs}
        marked: list[tuple[str, Tensor]] = []
        for name, tensor in outputs.items():
            if tensor.name in taken or tensor.constant is not None:
                tensor = self._add(
                    "identity", (tensor,), {}, [(tensor.dtype, tensor.shape)], fold=False
                )[0]
            taken.add(tensor.name)
            marked.append((name, tensor))
        layers = _needed(self._layers, [tensor for _, tensor in marked])
        held = {t.name for t in self._inputs} | {t.name for x in layers for t in x.outputs}
        seen = {n: t for n, t in nodes.items() if t.name in held or t.constant is not None}
        return Network(tuple(self._inputs), layers, tuple(marked), seen)

    def constant(self, value: torch.Tensor) -> Tensor:
        """A constant tensor; nothing is copied. Written into the network where it is used."""
        _expect(value.dtype in DTYPES, f"constant: TensorRT has no {value.dtype}")
        return Tensor(f"constant_{self._number()}", value.dtype, tuple(value.shape), value)

    # -- elementwise -----------------------------------------------------------------------

    def cast(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """ICastLayer: torch's conversion rules, except that out-of-range floats saturate."""
        if x.dtype == dtype:
            return x
        _expect(dtype in DTYPES, f"cast to {dtype}: TensorRT has no such type")
        return self._add("cast", (x,), {"dtype": dtype}, [(dtype, x.shape)])[0]

    def unary(self, x: Tensor, op: str) -> Tensor:
        """IUnaryLayer; `op` is a member of UnaryOperation."""
        if op == "NOT":
            _expect(x.dtype == torch.bool, f"unary NOT wants bool, got {x.dtype}")
        dtype = torch.bool if op in ("ISINF", "ISNAN") else x.dtype
        return self._add("unary", (x,), {"op": op}, [(dtype, x.shape)])[0]

    def activation(self, x: Tensor, op: str, alpha: float = 0.0, beta: float = 0.0) -> Tensor:
        """IActivationLayer; alpha and beta as TensorRT defines them for `op`."""
        _expect(x.dtype in FLOATS or op == "RELU", f"activation {op} wants floats, got {x.dtype}")
        attributes = {"op": op, "alpha": float(alpha), "beta": float(beta)}
        return self._add("activation", (x,), attributes, [(x.dtype, x.shape)])[0]

    def elementwise(self, a: Tensor, b: Tensor, op: str) -> Tensor:
        """IElementWiseLayer on two tensors of one dtype; lower ranks get leading ones."""
        _expect(a.dtype == b.dtype, f"elementwise {op}: dtypes {a.dtype} and {b.dtype} differ")
        logical = op in LOGICAL
        _expect(
            logical == (a.dtype == torch.bool) or op == "EQUAL", f"elementwise {op} on {a.dtype}"
        )
        a, b = self.same_rank(a, b)
        dtype = torch.bool if op in COMPARISONS or logical else a.dtype
        return self._add("elementwise", (a, b), {"op": op}, [(dtype, broadcast(a.shape, b.shape))])[
            0
        ]

    def select(self, condition: Tensor, then: Tensor, otherwise: Tensor) -> Tensor:
        """ISelectLayer: `then` where the bool condition holds, all three broadcast."""
        _expect(
            condition.dtype == torch.bool, f"select wants a bool condition, got {condition.dtype}"
        )
        _expect(then.dtype == otherwise.dtype, f"select: {then.dtype} and {otherwise.dtype} differ")
        tensors = self.same_rank(condition, then, otherwise)
        shape = broadcast(*(t.shape for t in tensors))
        return self._add("select", tensors, {}, [(then.dtype, shape)])[0]

    # -- reductions and products -----------------------------------------------------------

    def reduce(self, x: Tensor, op: str, axes: Sequence[int], keep: bool) -> Tensor:
        """IReduceLayer over non-negative axes; AVG wants floats."""
        _expect(x.dtype != torch.bool, "reduce: TensorRT does not reduce bool")
        _expect(
            bool(axes) and all(0 <= a < x.ndim for a in axes),
            f"reduce: axes {axes} of rank {x.ndim}",
        )
        chosen = set(axes)
        shape = tuple(
            1 if i in chosen else n for i, n in enumerate(x.shape) if keep or i not in chosen
        )
        attributes = {"op": op, "axes": tuple(sorted(chosen)), "keep": keep}
        return self._add("reduce", (x,), attributes, [(x.dtype, shape)])[0]

    def softmax(self, x: Tensor, axis: int) -> Tensor:
        """ISoftMaxLayer along one axis."""
        _expect(x.dtype in FLOATS, f"softmax wants floats, got {x.dtype}")
        return self._add("softmax", (x,), {"axis": axis}, [(x.dtype, x.shape)])[0]

    def cumulative(self, x: Tensor, axis: int) -> Tensor:
        """ICumulativeLayer: inclusive running sum along an axis."""
        return self._add("cumulative", (x,), {"axis": axis}, [(x.dtype, x.shape)])[0]

    def topk(self, x: Tensor, op: str, k: Size, axis: int) -> tuple[Tensor, Tensor]:
        """ITopKLayer: the k largest (MAX) or smallest (MIN), sorted; indices are int64."""
        known = k if isinstance(k, int) else None
        shape = _replace(x.shape, axis, known)
        inputs = (x, None if isinstance(k, int) else k)
        attributes = {"op": op, "k": known, "axis": axis}
        values, indices = self._add(
            "topk", inputs, attributes, [(x.dtype, shape), (torch.int64, shape)]
        )
        return values, indices

    def matmul(
        self, a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False
    ) -> Tensor:
        """IMatrixMultiplyLayer on [..., m, k] and [..., k, n] of one float dtype; batches broadcast."""
        _expect(
            a.dtype == b.dtype and a.dtype in FLOATS,
            f"matmul of {a.dtype} and {b.dtype}: wants one float type",
        )
        _expect(a.ndim >= 2 and b.ndim >= 2, f"matmul of ranks {a.ndim} and {b.ndim}")
        a, b = self.same_rank(a, b)
        m = a.shape[-1] if transpose_a else a.shape[-2]
        n = b.shape[-2] if transpose_b else b.shape[-1]
        shape = (*broadcast(a.shape[:-2], b.shape[:-2]), m, n)
        attributes = {"transpose_a": transpose_a, "transpose_b": transpose_b}
        return self._add("matmul", (a, b), attributes, [(a.dtype, shape)])[0]

    def einsum(self, inputs: Sequence[Tensor], equation: str) -> Tensor:
        """IEinsumLayer; explicit output, lower-case labels, no ellipsis."""
        sizes: dict[str, int | None] = {}
        terms, result = equation.split("->")
        for term, tensor in zip(terms.split(","), inputs, strict=True):
            for label, size in zip(term, tensor.shape, strict=True):
                sizes[label] = sizes.get(label) or size
        shape = tuple(sizes[label] for label in result)
        return self._add(
            "einsum", tuple(inputs), {"equation": equation}, [(inputs[0].dtype, shape)]
        )[0]

    def normalization(
        self,
        x: Tensor,
        scale: Tensor,
        bias: Tensor,
        axes: Sequence[int],
        epsilon: float,
        groups: int = 1,
    ) -> Tensor:
        """INormalizationLayer (v2): (x - mean) / sqrt(var + epsilon) * scale + bias over `axes`.

        Layer norm: scale and bias have rank of x, size 1 outside `axes`. Group norm: groups > 1
        or axes = spatial dims, scale and bias [1, C, 1, ...].
        """
        attributes = {"axes": tuple(axes), "epsilon": float(epsilon), "groups": groups}
        return self._add("normalization", (x, scale, bias), attributes, [(x.dtype, x.shape)])[0]

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool
    ) -> Tensor:
        """IAttention on [b, h, s, d]: softmax(q k^T + mask) v; scaling is the caller's, in q.

        `mask` is bool (True takes part) or of q's dtype (added), [b|1, h|1, s, t]. `causal` masks
        from the upper left. k and v may have fewer heads than q (grouped queries).
        """
        _expect(q.ndim == k.ndim == v.ndim == 4, "attention wants q, k, v of rank 4")
        shape = (*q.shape[:3], v.shape[3])
        return self._add("attention", (q, k, v, mask), {"causal": causal}, [(q.dtype, shape)])[0]

    # -- convolution, pooling, resampling --------------------------------------------------

    def convolution(
        self, x: Tensor, kernel: Tensor, bias: Tensor | None, *, stride: Sequence[int],
        pre: Sequence[int], post: Sequence[int], dilation: Sequence[int], groups: int,
    ) -> Tensor:  # fmt: skip
        """IConvolutionLayer on [n, c, *spatial] with 2 or 3 spatial dims; kernel [o, c/groups, *k].

        Zeros that a slice layer put around x are asked of the convolution instead.
        """
        x, pre, post = self._without_zeros(x, pre, post)
        spatial = tuple(
            None if size is None else (size + a + b - d * (k - 1) - 1) // s + 1
            for size, a, b, d, k, s in zip(
                x.shape[2:], pre, post, dilation, _static(kernel)[2:], stride, strict=True
            )
        )
        attributes = _window(stride, pre, post) | {"dilation": tuple(dilation), "groups": groups}
        shape = (x.shape[0], kernel.shape[0], *spatial)
        return self._add("convolution", (x, kernel, bias), attributes, [(x.dtype, shape)])[0]

    def deconvolution(
        self, x: Tensor, kernel: Tensor, bias: Tensor | None, *, stride: Sequence[int],
        pre: Sequence[int], post: Sequence[int], dilation: Sequence[int], groups: int,
    ) -> Tensor:  # fmt: skip
        """IDeconvolutionLayer; kernel [c, o/groups, *k]; pre and post are cut from the result.

        A negative post padding (torch's output_padding beyond the padding) is refused.
        """
        _expect(min(post) >= 0, f"deconvolution: post padding {tuple(post)} is negative")
        spatial = tuple(
            None if size is None else (size - 1) * s + d * (k - 1) + 1 - a - b
            for size, a, b, d, k, s in zip(
                x.shape[2:], pre, post, dilation, _static(kernel)[2:], stride, strict=True
            )
        )
        channels = _static(kernel)[1] * groups
        attributes = _window(stride, pre, post) | {"dilation": tuple(dilation), "groups": groups}
        shape = (x.shape[0], channels, *spatial)
        return self._add("deconvolution", (x, kernel, bias), attributes, [(x.dtype, shape)])[0]

    def pooling(
        self, x: Tensor, op: str, window: Sequence[int], *, stride: Sequence[int], pre: Sequence[int],
        post: Sequence[int], ceil: bool = False, exclude_padding: bool = True,
    ) -> Tensor:  # fmt: skip
        """IPoolingLayer (MAX or AVERAGE) on [n, c, *spatial] with 2 or 3 spatial dims."""
        spatial = tuple(
            None if size is None else ((size + a + b - k + (s - 1 if ceil else 0)) // s + 1)
            for size, a, b, k, s in zip(x.shape[2:], pre, post, window, stride, strict=True)
        )
        attributes = _window(stride, pre, post) | {
            "op": op, "window": tuple(window), "ceil": ceil, "exclude_padding": exclude_padding,
        }  # fmt: skip
        return self._add("pooling", (x,), attributes, [(x.dtype, (*x.shape[:2], *spatial))])[0]

    def resize(self, x: Tensor, sizes: Sequence[Size], *, mode: str, coordinates: str, rounding: str = "FLOOR",
               scales: Sequence[float] | None = None, cubic: float = -0.75) -> Tensor:  # fmt: skip
        """IResizeLayer to `sizes` (all dims); modes NEAREST, LINEAR, CUBIC; TensorRT's coordinate names.

        `scales` (output/input, all dims) replaces `sizes` as TensorRT's way to map coordinates.
        """
        static, tensor = self._sizes_input(sizes)
        attributes = {
            "mode": mode, "coordinates": coordinates, "rounding": rounding, "cubic": cubic,
            "scales": tuple(scales) if scales is not None else None, "sizes": static,
        }  # fmt: skip
        inputs = (x, None if scales is not None else tensor)
        return self._add("resize", inputs, attributes, [(x.dtype, known(sizes))])[0]

    def grid_sample(
        self, x: Tensor, grid: Tensor, *, mode: str, padding: str, align_corners: bool
    ) -> Tensor:
        """IGridSampleLayer: x [n, c, h, w], grid [n, ho, wo, 2]; padding is a SampleMode."""
        attributes = {"mode": mode, "padding": padding, "align_corners": align_corners}
        shape = (x.shape[0], x.shape[1], grid.shape[1], grid.shape[2])
        return self._add("grid_sample", (x, grid), attributes, [(x.dtype, shape)])[0]

    # -- shape and movement ----------------------------------------------------------------

    def shape(self, x: Tensor) -> Tensor:
        """IShapeLayer: sizes as a 1-dimensional int64 tensor."""
        if x.is_static:
            return self.constant(torch.tensor(x.shape, dtype=torch.int64))
        return self._add("shape", (x,), {}, [(torch.int64, (x.ndim,))])[0]

    def reshape(self, x: Tensor, sizes: Sequence[Size]) -> Tensor:
        """IShuffleLayer with new sizes; one may be -1, the one that follows from the others."""
        _expect(len(sizes) <= MAX_RANK, f"reshape to rank {len(sizes)}: TensorRT allows {MAX_RANK}")
        unknown = [i for i, n in enumerate(sizes) if not isinstance(n, int) or n == -1]
        shape: Shape = tuple(n if isinstance(n, int) and n != -1 else None for n in sizes)
        if len(unknown) == 1 and x.is_static:
            rest = math.prod(n for n in shape if n is not None)
            if rest:
                shape = tuple(math.prod(_static(x)) // rest if n is None else n for n in shape)
        if shape == x.shape and x.is_static:
            return x
        one = [-1 if n is None else n for n in shape]  # TensorRT finds one unknown size itself
        open_ = len(unknown) > 1 or (0 in shape and not any(sizes[i] == -1 for i in unknown))
        static, tensor = self._sizes_input(sizes if open_ else one)
        return self._add("reshape", (x, tensor), {"sizes": static}, [(x.dtype, shape)])[0]

    def transpose(self, x: Tensor, permutation: Sequence[int]) -> Tensor:
        """IShuffleLayer with a permutation of the dimensions."""
        order = tuple(permutation)
        _expect(sorted(order) == list(range(x.ndim)), f"permutation {order} of rank {x.ndim}")
        if order == tuple(range(x.ndim)):
            return x
        return self._add(
            "transpose", (x,), {"order": order}, [(x.dtype, tuple(x.shape[i] for i in order))]
        )[0]

    def unsqueeze(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """IUnsqueezeLayer: size-one dims at `axes` of the result (non-negative)."""
        if not axes:
            return x
        rank, chosen = x.ndim + len(axes), set(axes)
        _expect(rank <= MAX_RANK, f"unsqueeze to rank {rank}: TensorRT allows {MAX_RANK}")
        _expect(
            len(chosen) == len(axes) and all(0 <= a < rank for a in axes),
            f"unsqueeze axes {tuple(axes)}",
        )
        rest = iter(x.shape)
        shape = tuple(1 if i in chosen else next(rest) for i in range(rank))
        return self._add("unsqueeze", (x,), {"axes": tuple(sorted(chosen))}, [(x.dtype, shape)])[0]

    def squeeze(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """ISqueezeLayer: drop dims of size one at non-negative `axes`."""
        if not axes:
            return x
        chosen = set(axes)
        _expect(
            all(x.shape[a] in (1, None) for a in chosen), f"squeeze of {x.shape} at {tuple(axes)}"
        )
        shape = tuple(n for i, n in enumerate(x.shape) if i not in chosen)
        return self._add("squeeze", (x,), {"axes": tuple(sorted(chosen))}, [(x.dtype, shape)])[0]

    def slice(
        self, x: Tensor, start: Sequence[Size], sizes: Sequence[Size], stride: Sequence[Size],
        mode: str = "STRICT_BOUNDS", fill: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """ISliceLayer: result[i] = x[start + i * stride]; stride 0 repeats, negative reverses.

        Outside x, `mode` (a SampleMode) says what is read; `fill` is the scalar for FILL.
        """
        parts = [self._sizes_input(part) for part in (start, sizes, stride)]
        attributes: dict[str, Any] = {"mode": mode}
        for name, (static, _) in zip(("start", "sizes", "stride"), parts, strict=True):
            attributes[name] = static
        inputs = (x, *(tensor for _, tensor in parts), fill)
        return self._add("slice", inputs, attributes, [(x.dtype, known(sizes))])[0]

    def concat(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        """IConcatenationLayer of tensors of one dtype along a non-negative axis."""
        first = tensors[0]
        if len(tensors) == 1:
            return first
        _expect(all(t.dtype == first.dtype for t in tensors), "concat: dtypes differ")
        lengths = [t.shape[axis] for t in tensors]
        total = None if None in lengths else sum(n for n in lengths if n is not None)
        merged = [
            next((t.shape[i] for t in tensors if t.shape[i] is not None), None)
            for i in range(first.ndim)
        ]
        return self._add(
            "concat",
            tuple(tensors),
            {"axis": axis},
            [(first.dtype, _replace(tuple(merged), axis, total))],
        )[0]

    def gather(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        """IGatherLayer DEFAULT: indices (int32 or int64, non-negative) replace dimension `axis`."""
        shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
        _expect(
            len(shape) <= MAX_RANK, f"gather gives rank {len(shape)}: TensorRT allows {MAX_RANK}"
        )
        return self._add("gather", (x, indices), {"axis": axis}, [(x.dtype, shape)])[0]

    def gather_elements(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        """IGatherLayer ELEMENT: torch.gather with equal ranks; result has the shape of indices."""
        return self._add(
            "gather_elements", (x, indices), {"axis": axis}, [(x.dtype, indices.shape)]
        )[0]

    def gather_nd(self, x: Tensor, indices: Tensor, batch_dims: int = 0) -> Tensor:
        """IGatherLayer ND: the last dim of indices indexes x's dims after the batch dims."""
        depth = indices.shape[-1]
        _expect(depth is not None, "gather_nd: the last dimension of indices must be static")
        shape = (*indices.shape[:-1], *x.shape[batch_dims + (depth or 0) :])
        return self._add("gather_nd", (x, indices), {"batch_dims": batch_dims}, [(x.dtype, shape)])[
            0
        ]

    def scatter_elements(self, x: Tensor, indices: Tensor, updates: Tensor, axis: int) -> Tensor:
        """IScatterLayer ELEMENT: x with updates written at indices along `axis`."""
        return self._add(
            "scatter_elements", (x, indices, updates), {"axis": axis}, [(x.dtype, x.shape)]
        )[0]

    def scatter_nd(self, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        """IScatterLayer ND: x with updates written at the index tuples in indices' last dim."""
        return self._add("scatter_nd", (x, indices, updates), {}, [(x.dtype, x.shape)])[0]

    def linspace(self, size: Size, start: Tensor, step: Tensor) -> Tensor:
        """IFillLayer LINSPACE of one dimension: start + i * step; both 0-dimensional, of one dtype."""
        _expect(start.dtype == step.dtype, "linspace: start and step must have one dtype")
        static, tensor = self._sizes_input([size])
        outputs = [(start.dtype, known([size]))]
        return self._add("linspace", (tensor, start, step), {"sizes": static}, outputs)[0]

    # -- helpers ---------------------------------------------------------------------------

    def same_rank(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors with leading size-one dims, so that all have the largest rank."""
        rank = max(t.ndim for t in tensors)
        return tuple(self.unsqueeze(t, range(rank - t.ndim)) for t in tensors)

    def vector(self, sizes: Sequence[Size]) -> Tensor:
        """Sizes as a 1-dimensional int64 tensor."""
        if all(isinstance(n, int) for n in sizes):
            return self.constant(
                torch.tensor([n for n in sizes if isinstance(n, int)], dtype=torch.int64)
            )
        parts: list[Tensor] = []
        for n in sizes:
            scalar = self.constant(torch.tensor(n, dtype=torch.int64)) if isinstance(n, int) else n
            parts.append(self.unsqueeze(scalar, [0]))
        return self.concat(parts, 0)

    # -- loops -----------------------------------------------------------------------------

    def loop(
        self, count: int, state: Sequence[Tensor],
        body: Callable[[Self, Sequence[Tensor]], Sequence[Tensor]],
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """ILoop: the state after `count` turns of `body`, which keeps its dtypes and shapes.

        `body(net, state)` writes one turn into a network of its own; it reads the state it is given
        and constants, nothing else.
        """
        inner = type(self)()
        inner.node, inner._count = self.node, self._count
        given = [
            inner.input(f"{self.node or 'loop'}.{self._number()}", t.dtype, t.shape) for t in state
        ]
        inner._count = self._count
        made = body(inner, given)
        for old, new in zip(state, made, strict=True):
            _expect(old.dtype == new.dtype and old.ndim == new.ndim, f"loop: {old} becomes {new}")
        network = inner.finish({f"{i}": tensor for i, tensor in enumerate(made)}, {})
        self._count = inner._count
        outputs = [(t.dtype, t.shape) for t in state]
        return self._add("loop", tuple(state), {"count": count, "body": network}, outputs)

    def plugin(
        self, inputs: tuple[Tensor, ...], attributes: Mapping[str, Any],
        outputs: Sequence[tuple[torch.dtype, Shape]],
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """IPluginV3Layer, as compiler/convert/plugin.py describes it."""
        return self._add("plugin", inputs, attributes, outputs, fold=False)

    def _sizes_input(self, sizes: Sequence[Size]) -> tuple[tuple[int, ...] | None, Tensor | None]:
        """(static sizes, None), or (None, the tensor that holds them) if any is dynamic."""
        if all(isinstance(n, int) for n in sizes):
            return tuple(n for n in sizes if isinstance(n, int)), None
        return None, self.vector(sizes)

    def _without_zeros(
        self, x: Tensor, pre: Sequence[int], post: Sequence[int]
    ) -> tuple[Tensor, Sequence[int], Sequence[int]]:
        """What a zero-filling slice on static spatial dims padded, and its padding added."""
        layer = self._producers.get(x.name)
        if layer is None or layer.kind != "slice" or layer.attributes["mode"] != "FILL":
            return x, pre, post
        source, _, lengths, _, fill = layer.inputs
        start, stride = layer.attributes["start"], layer.attributes["stride"]
        zero = fill is None or (fill.constant is not None and not bool(fill.constant.any()))
        plain = (
            start is not None and stride is not None and set(stride) == {1} and not any(start[:2])
        )
        if source is None or not zero or not plain or None in (*x.shape[2:], *source.shape[2:]):
            return x, pre, post
        sizes = zip(start[2:], x.shape[2:], source.shape[2:], strict=True)
        around = [(-first, first + (size or 0) - (old or 0)) for first, size, old in sizes]
        batch = x.shape[0] or self._first_size_of(lengths)
        if batch != (source.shape[0] or source.name) or x.shape[1] != source.shape[1]:
            return x, pre, post
        if min(n for pair in around for n in pair) < 0:
            return x, pre, post
        before = [a + b for a, (b, _) in zip(pre, around, strict=True)]
        after = [a + b for a, (_, b) in zip(post, around, strict=True)]
        return source, before, after

    def _first_size_of(self, sizes: Tensor | None) -> str | None:
        """The tensor whose first size a computed vector of sizes begins with, if it is one's."""
        path = ("concat", "unsqueeze", "gather", "shape")
        tensor: Tensor | None = sizes
        last: Tensor | None = None
        for kind in path:
            layer = self._producers.get(tensor.name) if tensor is not None else None
            if layer is None or layer.kind != kind:
                return None
            if kind == "gather":
                last = layer.inputs[1]
            tensor = layer.inputs[0]
        at_zero = last is not None and last.constant is not None and int(last.constant) == 0
        return tensor.name if tensor is not None and at_zero else None

    def _add(
        self, kind: str, inputs: tuple[Tensor | None, ...], attributes: Mapping[str, Any],
        outputs: Sequence[tuple[torch.dtype, Shape]], fold: bool = True,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        given = [t for t in inputs if t is not None]
        if (
            fold
            and given
            and all(t.constant is not None and t.constant.numel() <= FOLD_LIMIT for t in given)
        ):
            sizes = [math.prod(n for n in shape if n is not None) for _, shape in outputs]
            if max(sizes) <= FOLD_LIMIT:
                return self._fold(kind, inputs, attributes)
        made = []
        for dtype, shape in outputs:
            name = f"{self.node or 'value'}.{kind}.{self._number()}"
            made.append(Tensor(name, dtype, shape))
        layer = Layer(kind, inputs, dict(attributes), tuple(made), self.node)
        self._layers.append(layer)
        self._producers.update((tensor.name, layer) for tensor in made)
        return tuple(made)

    def _number(self) -> int:
        """The next number: no two names are the same."""
        self._count += 1
        return self._count

    def _fold(
        self, kind: str, inputs: tuple[Tensor | None, ...], attributes: Mapping[str, Any]
    ) -> tuple[Tensor, ...]:
        from compiler.network.evaluate import EVALUATORS  # the evaluator reads Layer; avoid a cycle

        values = [None if t is None else t.constant for t in inputs]
        results = EVALUATORS[kind](attributes, *values)
        return tuple(self.constant(value) for value in results)


def _needed(layers: Sequence[Layer], outputs: Sequence[Tensor]) -> tuple[Layer, ...]:
    """The layers that the outputs depend on, in order."""
    wanted = {tensor.name for tensor in outputs}
    kept: list[Layer] = []
    for layer in reversed(layers):
        if any(tensor.name in wanted for tensor in layer.outputs):
            kept.append(layer)
            wanted |= {tensor.name for tensor in layer.inputs if tensor is not None}
    return tuple(reversed(kept))


def broadcast(*shapes: Shape) -> Shape:
    """The common shape of equal-rank shapes; an unknown size yields to a known one other than 1."""
    result: list[int | None] = []
    for dims in zip(*shapes, strict=True):
        large = {n for n in dims if n is not None and n != 1}
        _expect(len(large) <= 1, f"shapes {shapes} do not broadcast")
        result.append(large.pop() if large else (None if None in dims else 1))
    return tuple(result)


def known(sizes: Sequence[Size]) -> Shape:
    """Sizes as a shape: None for those computed at run time."""
    return tuple(n if isinstance(n, int) else None for n in sizes)


def _static(tensor: Tensor) -> tuple[int, ...]:
    _expect(tensor.is_static, f"{tensor.name}: expected a static shape, got {tensor.shape}")
    return tuple(n for n in tensor.shape if n is not None)


def _window(stride: Sequence[int], pre: Sequence[int], post: Sequence[int]) -> dict[str, Any]:
    return {"stride": tuple(stride), "pre": tuple(pre), "post": tuple(post)}


def _replace(shape: Shape, axis: int, size: int | None) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise NetworkError(message)
