"""Operators called by a name that no runtime and no table of decompositions knows, in plainer ones.

`torch.ops.prims.*`, attention by the name of one of its kernels, and the fused layer that
`nn.TransformerEncoder` calls outside export. Each becomes a function that is traced where it is called.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.nn import functional

from compiler.lower.graphs import calls, copied
from compiler.lower.returning import function

aten = torch.ops.aten
Tensor = torch.Tensor


def spelled_out(exported: ExportedProgram, keep: Collection[str]) -> ExportedProgram:
    """A copy to be decomposed, in which such calls, but for those in `keep`, are calls of functions; the
    program itself if it has none."""
    found = {
        n.name: f for n in calls(exported) if str(n.target) not in keep and (f := _function(n))
    }
    if not found:
        return exported
    program = copied(exported)
    for node in program.graph.nodes:
        if node.name in found:
            node.args, node.kwargs = (), _named(node)
            node.target = found[node.name]
            unread = [u for u in node.users if u.target is operator.getitem and not u.users]
            for user in unread:  # the function lacks results that nothing reads
                program.graph.erase_node(user)
    program.graph_module.recompile()
    return program


def _function(node: torch.fx.Node) -> Callable[..., Any] | None:
    """What computes the call; None if the call may stay as it is."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return None
    if target.namespace == "prims":
        plain = _PRIMS.get(target) or getattr(target, "impl_aten", None)
        names = [argument.name for argument in target._schema.arguments]
        return (
            None
            if plain is None
            else lambda **given: plain(*(given[n] for n in names if n in given))
        )
    if (returning := function(target)) is not None:
        return returning
    given = _named(node)
    if target in _ATTENTION:
        first_only = all(
            u.target is operator.getitem and (u.args[1] == 0 or not u.users) for u in node.users
        )
        return _attention if first_only and not given.get("dropout_p") else None
    if target is aten._transformer_encoder_layer_fwd.default:
        return _encoder_layer
    return None


def _named(node: torch.fx.Node) -> dict[str, Any]:
    """The call's arguments by the schema's names."""
    schema = node.target._schema  # type: ignore[union-attr]
    names = [argument.name for argument in schema.arguments]
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


_PRIMS: dict[Any, Callable[..., Tensor]] = {
    torch.ops.prims.convert_element_type.default: lambda a, dtype: a.to(dtype),
}
"""Where torch's own form in ATen writes into a tensor."""

_ATTENTION = (
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
    aten._scaled_dot_product_fused_attention_overrideable.default,
)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_bias: Tensor | None = None,
    is_causal: bool = False, scale: float | None = None, **_: Any,
) -> tuple[Tensor]:  # fmt: skip
    """The first result of each of these kernels; the others are for the backward pass."""
    made = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attn_bias, is_causal=is_causal, scale=scale
    )
    return (made,)


def _encoder_layer(
    src: Tensor, embed_dim: int, num_heads: int, qkv_weight: Tensor, qkv_bias: Tensor,
    proj_weight: Tensor, proj_bias: Tensor, use_gelu: bool, norm_first: bool, eps: float,
    norm_weight_1: Tensor, norm_bias_1: Tensor, norm_weight_2: Tensor, norm_bias_2: Tensor,
    ffn_weight_1: Tensor, ffn_bias_1: Tensor, ffn_weight_2: Tensor, ffn_bias_2: Tensor,
    mask: Tensor | None = None, mask_type: int | None = None,
) -> Tensor:  # fmt: skip
    """torch.nn.TransformerEncoderLayer: [batch, length, embed_dim]. A mask is true where nobody looks; its
    type is 0 for [length, length], 1 for [batch, length], 2 for [batch, heads, length, length]."""
    batch, length = src.shape[0], src.shape[1]

    def first(x: Tensor) -> Tensor:
        return functional.layer_norm(x, (embed_dim,), norm_weight_1, norm_bias_1, eps)

    def second(x: Tensor) -> Tensor:
        return functional.layer_norm(x, (embed_dim,), norm_weight_2, norm_bias_2, eps)

    packed = functional.linear(first(src) if norm_first else src, qkv_weight, qkv_bias)
    query, key, value = (
        part.reshape(batch, length, num_heads, embed_dim // num_heads).transpose(1, 2)
        for part in packed.chunk(3, -1)
    )
    if mask is not None:
        mask = mask.to(torch.bool).logical_not()  # of any dtype: the kernel does so too
        mask = mask[:, None, None, :] if mask_type == 1 else mask
    seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    seen = seen.transpose(1, 2).reshape(batch, length, embed_dim)
    x = src + functional.linear(seen, proj_weight, proj_bias)
    x = x if norm_first else first(x)
    inner = functional.linear(second(x) if norm_first else x, ffn_weight_1, ffn_bias_1)
    inner = functional.gelu(inner) if use_gelu else functional.relu(inner)
    x = x + functional.linear(inner, ffn_weight_2, ffn_bias_2)
    return x if norm_first else second(x)
