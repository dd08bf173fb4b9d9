"""Scaled dot-product attention as TensorRT's attention layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from compiler.convert.idioms.masks import hides_nothing
from compiler.convert.idioms.positions import plain
from compiler.convert.net import Net
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.hidden_rows import seen
from compiler.network.network import Size, Tensor
from enginebundle.format.graph import Value

TABLE = Table("attention")
SUPPORT = Support(dtypes=FLOATS | {"bool"})


def _check(
    query: Value, key: Value, attn_mask: Value | None, dropout_p: float, is_causal: bool
) -> str | None:
    if dropout_p != 0.0:
        return f"expected dropout_p 0 at inference, got {dropout_p}; export the model after model.eval()"
    if attn_mask is not None and is_causal:
        return "expected attn_mask or is_causal, got both"
    if len(query.shape) < 2:
        return f"expected query of rank 2 or more, got {len(query.shape)}"
    return None


def _check_grouped(
    query: Value, key: Value, attn_mask: Value | None, dropout_p: float, is_causal: bool,
    enable_gqa: bool,
) -> str | None:  # fmt: skip
    if enable_gqa and isinstance(query.shape[-3], str):
        return f"expected a static number of query heads with enable_gqa, got {query.shape[-3]}"
    return _check(query, key, attn_mask, dropout_p, is_causal)


@TABLE.converter("aten.scaled_dot_product_attention.default", support=SUPPORT, check=_check_grouped)
def attention(
    net: Net, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, dropout_p: float,
    is_causal: bool, scale: float | None, enable_gqa: bool,
) -> Tensor:  # fmt: skip
    """query [..., h, s, d], key [..., h', t, d], value [..., h', t, e]; leading dims broadcast.

    With enable_gqa, h is a multiple of h'. Any rank from 2 up is reshaped to the rank 4 of TensorRT.
    """
    rank = max(t.ndim for t in (query, key, value))
    lead = _lead(net, [query, key, value, attn_mask], rank, enable_gqa)
    grouped = enable_gqa and rank > 2 and not key.shape[-3] == value.shape[-3] == query.shape[-3]
    q = _flat(net, query, rank, lead)
    k, v = (
        _flat(net, t, rank, [*lead[:-1], net.size(t, t.ndim - 3)] if grouped else lead)
        for t in (key, value)
    )
    mask = None
    if attn_mask is not None and not hides_nothing(net, attn_mask):
        mask = _mask(net, attn_mask, query, key, rank, lead)
    result = dot_product(net, q, k, v, mask, is_causal, scale)
    if rank == 4 and isinstance(plain(lead[-1]), int):
        return result
    tail = [net.size(query, query.ndim - 2), net.size(value, value.ndim - 1)]
    return net.reshape(result, [*lead, *tail])


@TABLE.converter(
    "aten._scaled_dot_product_flash_attention_for_cpu.default", support=SUPPORT, check=_check
)
def flash_attention(
    net: Net, query: Tensor, key: Tensor, value: Tensor, dropout_p: float, is_causal: bool,
    attn_mask: Tensor | None, scale: float | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`attention`, and the logarithm of each row's sum of exponentials, float32 [b, h, s]."""
    mask = None if attn_mask is None or hides_nothing(net, attn_mask) else attn_mask
    # Written out: TensorRT-RTX fails to build its own layer beside products of the same query.
    scores = _scores(net, query, key, mask, is_causal, scale)
    top = net.reduce(scores, "MAX", [3], True)
    total = net.reduce(net.unary(net.sub(scores, top), "EXP"), "SUM", [3], True)
    logarithm = net.add(top, net.unary(total, "LOG"))
    weights = net.cast(net.unary(net.sub(scores, logarithm), "EXP"), query.dtype)
    result = net.matmul(weights, value)
    result = net.select(seen(net, scores), result, net.scalar(0, query.dtype))
    return result, net.squeeze(logarithm, [3])


def dot_product(
    net: Net, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float | None
) -> Tensor:  # fmt: skip
    """Attention of rank 4."""
    depth, wanted = q.shape[3], v.shape[3]
    if depth is None or wanted is None or k.shape[1] != v.shape[1]:
        return _written_out(net, q, k, v, mask, causal, scale)
    q = net.mul(q, _scale(net, q, scale))
    if depth is not None and wanted is not None and depth != wanted:
        # TensorRT needs one depth; padding with zeros changes neither the products nor other columns.
        q, k, v = (_deepened(net, t, max(depth, wanted)) for t in (q, k, v))
    result = net.attention(q, k, v, mask, causal)
    return result if result.shape[3] == wanted else net.narrow(result, 3, 0, wanted)


def _deepened(net: Net, x: Tensor, depth: int) -> Tensor:
    if x.shape[3] == depth:
        return x
    sizes = [*net.sizes(x)[:3], depth]
    return net.slice(x, [0] * 4, sizes, [1] * 4, "FILL", net.scalar(0, x.dtype))


def _scale(net: Net, q: Tensor, scale: float | None) -> float | Tensor:
    """The factor for the products: a number, or a tensor of q's dtype if its depth is dynamic."""
    depth = net.size(q, q.ndim - 1)
    if scale is not None:
        return scale
    if isinstance(depth, int):
        return 1.0 / math.sqrt(depth)
    root = net.unary(net.cast(depth, torch.float32), "SQRT")
    return net.cast(net.unary(root, "RECIP"), q.dtype)


def _written_out(
    net: Net, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float | None
) -> Tensor:  # fmt: skip
    """`dot_product` as products and a softmax: TensorRT's layer needs one static depth, and as many
    heads of values as of keys."""
    k, v = (_repeated(net, t, q) for t in (k, v))
    scores = _scores(net, q, k, mask, causal, scale)
    weights = net.cast(net.softmax(scores, 3), q.dtype)
    return net.select(seen(net, scores), net.matmul(weights, v), net.scalar(0, q.dtype))


def _repeated(net: Net, x: Tensor, q: Tensor) -> Tensor:
    """Each head repeated in a row, once for each of its heads in q."""
    heads, wanted = x.shape[1], q.shape[1]
    if heads in (1, wanted) or heads is None or wanted is None:
        return x
    batch, _, rows, depth = net.sizes(x)
    times = wanted // heads
    wide = net.expand(net.unsqueeze(x, [2]), [batch, heads, times, rows, depth])
    return net.reshape(wide, [batch, wanted, rows, depth])


def _lead(net: Net, tensors: Sequence[Tensor | None], rank: int, gqa: bool) -> list[Size]:
    """The sizes that the dims before the last two broadcast to (with gqa, the query's heads)."""
    lead: list[Size] = []
    for i in range(rank - 2):
        found: Size = 1
        for tensor in tensors[:1] if gqa and i == rank - 3 else tensors:
            axis = tensor.ndim - rank + i if tensor is not None else -1
            if (
                tensor is not None
                and axis >= 0
                and tensor.shape[axis] != 1
                and not _above_one(found)
            ):
                found = net.size(tensor, axis)
        lead.append(found)
    return lead


def _above_one(size: Size) -> bool:
    return isinstance(size, int) and size > 1


def _flat(net: Net, x: Tensor, rank: int, lead: Sequence[Size]) -> Tensor:
    """x with its leading dims broadcast to `lead`, then merged into two."""
    known = [n if isinstance(n, int) else None for n in lead]
    full = net.unsqueeze(x, range(rank - x.ndim))
    if any(a == 1 and b != 1 for a, b in zip(full.shape, known, strict=False)):
        full = net.expand(full, [*lead, -1, -1])
    return _two(net, full, lead)


def _two(net: Net, x: Tensor, lead: Sequence[Size]) -> Tensor:
    """The leading dims as batch and heads. TensorRT needs a static number of heads: if the last dim is
    dynamic (or the only one), all dims are batch, with one head each.
    """
    if len(lead) < 2:
        return net.unsqueeze(x, range(1, 2) if lead else range(2))
    tail = net.sizes(x)[-2:]
    if not isinstance(plain(lead[-1]), int):
        return net.reshape(x, [net.product(lead), 1, *tail])
    return x if len(lead) == 2 else net.reshape(x, [net.product(lead[:-1]), lead[-1], *tail])


def _mask(
    net: Net, mask: Tensor, query: Tensor, key: Tensor, rank: int, lead: Sequence[Size]
) -> Tensor:
    """The mask of rank 4 with all rows and keys; bool, or of the query's dtype."""
    if mask.dtype != torch.bool:
        mask = net.cast(mask, query.dtype)
    mask = net.unsqueeze(mask, range(rank - mask.ndim))
    rows, keys = net.size(query, query.ndim - 2), net.size(key, key.ndim - 2)
    mask = net.expand(mask, [*[-1] * (rank - 2), rows, keys])
    if rank == 4 and isinstance(plain(lead[-1]), int):
        return mask
    return _two(net, net.expand(mask, [*lead, -1, -1]), lead)


def _scores(
    net: Net, q: Tensor, k: Tensor, mask: Tensor | None, causal: bool, scale: float | None
) -> Tensor:
    """Scaled and masked products in float32, rank 4."""
    wide = net.cast(net.mul(q, _scale(net, q, scale)), torch.float32)
    scores = net.matmul(wide, net.cast(k, torch.float32), False, True)
    low = net.scalar(-math.inf, torch.float32)
    if causal:
        rows, keys = net.arange(net.size(q, 2)), net.arange(net.size(k, 2))
        later = net.compare(net.unsqueeze(keys, [0]), net.unsqueeze(rows, [1]), "GREATER")
        scores = net.select(later, low, scores)
    if mask is None:
        return scores
    if mask.dtype == torch.bool:
        return net.select(mask, scores, low)
    return net.add(scores, net.cast(mask, torch.float32))
