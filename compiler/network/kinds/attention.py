"""The kind that attends: softmax(q k^T + mask) v."""

from __future__ import annotations

import math
from typing import Any

import torch

from compiler.network.emit import Emitter
from compiler.network.kind import Attributes, Kind, Value, accumulated_wide, method
from compiler.network.kinds.elementwise import Cast, Elementwise, Select, Unary
from compiler.network.kinds.products import MatMul
from compiler.network.kinds.reductions import Softmax
from compiler.network.kinds.shapes import Reshape, Unsqueeze, size, sizes
from compiler.network.kinds.slices import Linspace
from compiler.network.network import Layer, Tensor
from compiler.network.recorder import Recorder, expect


class Attention(Kind):
    """IAttention."""

    name = "attention"
    needs = "add_attention_v2"

    @staticmethod
    def write(
        net: Recorder, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool
    ) -> Tensor:
        """IAttention on [b, h, s, d]: softmax(q k^T + mask) v; scaling is the caller's, in q.

        `mask` is bool (True takes part) or of q's dtype (added), [b|1, h|1, s, t]; as in torch, rows
        that see no key give zeros. `causal` masks from the upper left. k and v may have fewer heads than
        q (grouped queries).
        """
        expect(q.ndim == k.ndim == v.ndim == 4, "attention wants q, k, v of rank 4")
        shape = (*q.shape[:3], v.shape[3])
        attributes = {"causal": causal, "guarded": mask is None}
        return net.record(Attention, (q, k, v, mask), attributes, [(q.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        """Its rows must be guarded (network/hidden_rows.py)."""
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
        seen = torch.ones((), dtype=torch.bool)
        if mask is not None:
            keys = mask if mask.dtype == torch.bool else mask != -math.inf
            scores = scores if mask.dtype == torch.bool else scores + mask
            scores, seen = scores.masked_fill(~keys, -math.inf), keys.any(-1, keepdim=True)
        if a["causal"]:
            keep = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
            scores = scores.masked_fill(~keep, -math.inf)
        return torch.where(seen, torch.softmax(scores, -1), 0) @ v

    @staticmethod
    def older(
        net: Recorder, a: Attributes, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
    ) -> tuple[Tensor]:
        """Two products and a softmax, which TensorRT fuses by itself where it can.

        A mask is applied twice, to the scores and to the weights, so that a row without a key gives
        zeros. On an H200 that costs nothing beside the mask alone, where a factor behind the attention
        cost a twelfth of BERT-base.
        """
        group = _group(q, k)
        scores = _product(net, q, k, group, transpose=True)
        keys = None if mask is None else visible(net, mask)
        if keys is not None and mask is not None:
            if mask.dtype != torch.bool:
                scores = Elementwise.write(net, scores, mask, "SUM")
            scores = _where(net, keys, scores, torch.finfo(scores.dtype).min)
        if a["causal"]:
            scores = _where(net, _lower(net, scores), scores, -math.inf)
        weights = Softmax.write(net, scores, 3)
        if keys is not None:
            weights = Elementwise.write(net, weights, Cast.write(net, keys, q.dtype), "PROD")
        return (_product(net, weights, v, group),)


def visible(net: Recorder, mask: Tensor) -> Tensor:
    """bool: which keys take part, by a bool or added mask. In an added one, NaN counts and stays."""
    if mask.dtype == torch.bool:
        return mask
    hidden = Elementwise.write(net, mask, _number(net, mask, -math.inf), "EQUAL")
    return Unary.write(net, hidden, "NOT")


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


def _where(net: Recorder, keep: Tensor, scores: Tensor, low: float) -> Tensor:
    """The scores, `low` where `keep` is false."""
    return Select.write(net, keep, scores, _number(net, scores, low))


def _number(net: Recorder, like: Tensor, value: float) -> Tensor:
    return net.constant(torch.tensor(value, dtype=like.dtype))


def _lower(net: Recorder, scores: Tensor) -> Tensor:
    """True on and below the diagonal that starts in the upper left corner: bool [s, t]."""
    zero, one = (net.constant(torch.tensor(n, dtype=torch.int64)) for n in (0, 1))
    row, column = (Linspace.write(net, size(net, scores, axis), zero, one) for axis in (2, 3))
    column = Unsqueeze.write(net, column, [0])
    above = Elementwise.write(net, column, Unsqueeze.write(net, row, [1]), "GREATER")
    return Unary.write(net, above, "NOT")


KINDS: tuple[type[Kind], ...] = (Attention,)


class Attentions(Recorder):
    """This kind as a method."""

    attention = method(Attention.write)
