"""The built-in replacement: `nn.MultiheadAttention` as one attention operator.

replace:
  - { module: MultiheadAttention, with: "compiler.recipes.attention:multihead_attention" }
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

Output = tuple[torch.Tensor, torch.Tensor | None]


def multihead_attention(old: nn.Module) -> Attention:
    """The replacement of an `nn.MultiheadAttention`. TypeError or ValueError if it can't replace `old`."""
    if not isinstance(old, nn.MultiheadAttention):
        raise TypeError(f"expected an nn.MultiheadAttention, got a {type(old).__name__}")
    if old.bias_k is not None or old.add_zero_attn:
        raise ValueError("expected add_bias_kv=False and add_zero_attn=False")
    return Attention(old)


class Attention(nn.Module):
    """Attention with the weights and the forward of an `nn.MultiheadAttention`, dropout left out.

    Three projections, one `scaled_dot_product_attention`, one projection. The attention weights are
    computed separately, and only where the caller asks for them and uses them.
    """

    in_proj_bias: None = None
    """`nn.TransformerEncoderLayer` reads this to decide whether it may bypass its attention: it may not."""

    def __init__(self, old: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = old.num_heads
        self.batch_first = old.batch_first
        self._qkv_same_embed_dim = False
        if old.in_proj_weight is not None:
            weights = old.in_proj_weight.detach().chunk(3)
        else:
            weights = tuple(
                w.detach() for w in (old.q_proj_weight, old.k_proj_weight, old.v_proj_weight)
            )
        biases = (None,) * 3 if old.in_proj_bias is None else old.in_proj_bias.detach().chunk(3)
        self.query, self.key, self.value = map(_linear, weights, biases)
        self.out_proj = old.out_proj

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Output:
        """Tensors are [b, s, e] if batch_first, else [s, b, e], or [s, e] without a batch.

        `key_padding_mask` [b, t] and `attn_mask` [s, t] or [b * heads, s, t] are bool (True masks
        out) or float (added). `is_causal` only describes `attn_mask`, as in torch. Returns the
        result like `query`, and the weights [b, s, t], [b, heads, s, t] if not averaged, or None.
        """
        batched = query.dim() == 3
        if not batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
            if key_padding_mask is not None:
                key_padding_mask = key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = (
            self._split(project(x))
            for project, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        mask = self._mask(q, key_padding_mask, attn_mask)
        attended = F.scaled_dot_product_attention(q, k, v, mask)
        result = self.out_proj(attended.transpose(1, 2).flatten(2))
        weights = None
        if need_weights:
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            weights = torch.softmax(scores if mask is None else scores + mask, -1)
            weights = weights.mean(1) if average_attn_weights else weights
        if not batched:
            return result.squeeze(0), None if weights is None else weights.squeeze(0)
        return (result if self.batch_first else result.transpose(0, 1)), weights

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)

    def _mask(
        self, q: torch.Tensor, padding: torch.Tensor | None, attention: torch.Tensor | None
    ) -> torch.Tensor | None:
        """Both masks as one float mask to add, [b or 1, heads or 1, s or 1, t]."""
        masks = []
        if padding is not None:
            masks.append(_added(padding, q.dtype)[:, None, None, :])
        if attention is not None:
            added = _added(attention, q.dtype)
            masks.append(
                added if added.dim() == 2 else added.view(-1, self.heads, *added.shape[1:])
            )
        return sum(masks[1:], masks[0]) if masks else None


def _added(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf"))


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    made.weight = nn.Parameter(weight.clone(), requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return made
