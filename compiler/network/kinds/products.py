"""Kinds that multiply matrices: matmul, einsum, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from compiler.network.emit import Emitter
from compiler.network.kind import Attributes, Kind, Role, Value, accumulated_wide, method
from compiler.network.kinds.elementwise import Elementwise, Select, Unary
from compiler.network.kinds.reductions import Softmax
from compiler.network.kinds.shapes import Reshape, Unsqueeze, same_rank, size, sizes
from compiler.network.kinds.slices import Linspace
from compiler.network.network import Layer, Tensor
from compiler.network.recorder import FLOATS, Recorder, broadcast, expect


class MatMul(Kind):
    """IMatrixMultiplyLayer."""

    name = "matmul"

    @staticmethod
    def write(
        net: Recorder, a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False
    ) -> Tensor:
        """IMatrixMultiplyLayer on [..., m, k] and [..., k, n] of one float dtype; batches broadcast."""
        expect(
            a.dtype == b.dtype and a.dtype in FLOATS,
            f"matmul of {a.dtype} and {b.dtype}: wants one float type",
        )
        expect(a.ndim >= 2 and b.ndim >= 2, f"matmul of ranks {a.ndim} and {b.ndim}")
        a, b = same_rank(net, a, b)
        m = a.shape[-1] if transpose_a else a.shape[-2]
        n = b.shape[-2] if transpose_b else b.shape[-1]
        shape = (*broadcast(a.shape[:-2], b.shape[:-2]), m, n)
        attributes = {"transpose_a": transpose_a, "transpose_b": transpose_b}
        return net.record(MatMul, (a, b), attributes, [(a.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        def operation(transpose: bool) -> Any:
            return e.trt.MatrixOperation.TRANSPOSE if transpose else e.trt.MatrixOperation.NONE

        left, right = (e.tensor(t) for t in layer.inputs)
        return e.net.add_matrix_multiply(
            left, operation(a["transpose_a"]), right, operation(a["transpose_b"])
        )

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, left: Value, right: Value) -> Value:
        left = left.mT if a["transpose_a"] else left
        right = right.mT if a["transpose_b"] else right
        return left @ right


class Einsum(Kind):
    """IEinsumLayer."""

    name = "einsum"
    role = Role.REDUCTION

    @staticmethod
    def write(net: Recorder, inputs: Sequence[Tensor], equation: str) -> Tensor:
        """IEinsumLayer; explicit output, lower-case labels, no ellipsis."""
        known: dict[str, int | None] = {}
        terms, result = equation.split("->")
        for term, tensor in zip(terms.split(","), inputs, strict=True):
            for label, length in zip(term, tensor.shape, strict=True):
                known[label] = known.get(label) or length
        shape = tuple(known[label] for label in result)
        results = [(inputs[0].dtype, shape)]
        return net.record(Einsum, tuple(inputs), {"equation": equation}, results)[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        return e.net.add_einsum([e.tensor(t) for t in layer.inputs], a["equation"])

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, *x: Value) -> Value:
        return torch.einsum(a["equation"], *x)


class Attention(Kind):
    """IAttention."""

    name = "attention"
    needs = "add_attention_v2"

    @staticmethod
    def write(
        net: Recorder, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool
    ) -> Tensor:
        """IAttention on [b, h, s, d]: softmax(q k^T + mask) v; scaling is the caller's, in q.

        `mask` is bool (True takes part) or of q's dtype (added), [b|1, h|1, s, t]. `causal` masks
        from the upper left. k and v may have fewer heads than q (grouped queries).
        """
        expect(q.ndim == k.ndim == v.ndim == 4, "attention wants q, k, v of rank 4")
        shape = (*q.shape[:3], v.shape[3])
        return net.record(Attention, (q, k, v, mask), {"causal": causal}, [(q.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        q, k, v, mask = layer.inputs
        kind = e.trt.CausalMaskKind.UPPER_LEFT if a["causal"] else e.trt.CausalMaskKind.NONE
        norm = e.trt.AttentionNormalizationOp.SOFTMAX
        added = e.net.add_attention_v2(e.tensor(q), e.tensor(k), e.tensor(v), norm, kind)
        if mask is not None:
            added.mask = e.tensor(mask)
        added.decomposable = True  # without it, float32 and large heads do not build
        return added

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, q: Value, k: Value, v: Value, mask: Value | None) -> Value:
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
        scores = q @ k.mT
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, -math.inf)
        elif mask is not None:
            scores = scores + mask
        if a["causal"]:
            keep = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
            scores = scores.masked_fill(~keep, -math.inf)
        return torch.softmax(scores, -1) @ v

    @staticmethod
    def older(
        net: Recorder, a: Attributes, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
    ) -> tuple[Tensor]:
        """Two products and a softmax, which TensorRT fuses by itself where it can."""
        group = _group(q, k)
        scores = _product(net, q, k, group, transpose=True)
        if mask is not None and mask.dtype != torch.bool:
            scores = Elementwise.write(net, scores, mask, "SUM")
        elif mask is not None:
            scores = _where(net, mask, scores)
        if a["causal"]:
            scores = _where(net, _lower(net, scores), scores)
        return (_product(net, Softmax.write(net, scores, 3), v, group),)


def _group(q: Tensor, k: Tensor) -> int:
    """How many heads of q read one head of k."""
    heads, shared = q.shape[1], k.shape[1]
    if heads == shared:
        return 1
    expect(heads is not None and shared is not None, f"attention of {heads} and {shared} heads")
    return (heads or 0) // (shared or 1)


def _product(net: Recorder, x: Tensor, y: Tensor, group: int, transpose: bool = False) -> Tensor:
    """x [b, h, s, ·] times y of h / group heads: the rows of a group's heads in one matrix."""
    if group == 1:
        return MatMul.write(net, x, y, transpose_b=transpose)
    batch, heads, rows, columns = sizes(net, x)
    shared = size(net, y, 1)
    tall = Reshape.write(net, x, [batch, shared, -1, columns])
    made = MatMul.write(net, tall, y, transpose_b=transpose)
    return Reshape.write(net, made, [batch, heads, rows, size(net, y, 2 if transpose else 3)])


def _where(net: Recorder, keep: Tensor, scores: Tensor) -> Tensor:
    """The scores, -inf where `keep` is false."""
    never = net.constant(torch.tensor(-math.inf, dtype=scores.dtype))
    return Select.write(net, keep, scores, never)


def _lower(net: Recorder, scores: Tensor) -> Tensor:
    """True on and below the diagonal that starts in the upper left corner: bool [s, t]."""
    zero, one = (net.constant(torch.tensor(n, dtype=torch.int64)) for n in (0, 1))
    row, column = (Linspace.write(net, size(net, scores, axis), zero, one) for axis in (2, 3))
    column = Unsqueeze.write(net, column, [0])
    above = Elementwise.write(net, column, Unsqueeze.write(net, row, [1]), "GREATER")
    return Unary.write(net, above, "NOT")


KINDS: tuple[type[Kind], ...] = (MatMul, Einsum, Attention)


class Products(Recorder):
    """These kinds as methods."""

    matmul = method(MatMul.write)
    einsum = method(Einsum.write)
    attention = method(Attention.write)
