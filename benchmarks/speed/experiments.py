"""Our network with one thing changed, to see what that thing costs: `ours+NAME`.

Some give up a promise (NaN and numbers beyond half's range are what eager makes of them), and none is a
mode of the product. `applied(name)` patches the compiler meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F  # noqa: N812

from benchmarks.zoo.libraries import transformers
from compiler.convert.net import Net
from compiler.convert.ops import attention, pooling
from compiler.lower import float32, precision
from compiler.network.network import Tensor

EXPERIMENTS: Mapping[str, str] = {
    "no-clamp": "numbers beyond half's range become infinite where an input is cast",
    "plain-pool": "max pooling is the layer alone: it may drop NaN",
    "half-mean": "means are reduced in half",
    "half-inside": "a model in half with half inputs and outputs: no cast at the borders",
    "added-mask": "a bool mask becomes -inf or 0 in half, once, which each layer adds",
    "no-mask": "attention sees every key; right only where the mask hides none",
    "gelu-tanh": "GPT-2's activation, written out as powers, is one layer",
    "round-trip": "what was cast from half to float32 is cast back without limits: the half value itself",
    "pinned": "a batch that a symbol stands for, with a profile that pins it, not a number in the shapes",
    "max": "the same network, with effort max",
    "bare": "no-clamp, plain-pool, half-mean, gelu-tanh and round-trip together",
}
_TOGETHER = {"bare": ("no-clamp", "plain-pool", "half-mean", "gelu-tanh", "round-trip")}


def half_inside(name: str) -> bool:
    return name == "half-inside"


def effort(name: str) -> str:
    return "max" if name == "max" else "default"


@contextmanager
def applied(name: str) -> Iterator[None]:
    """Trace, convert and build inside."""
    with ExitStack() as patches:
        for one in _TOGETHER.get(name, (name,)):
            for module, attribute, value in _patches(one):
                patches.enter_context(mock.patch.object(module, attribute, value))
        yield


def _patches(name: str) -> list[tuple[Any, str, Any]]:
    if name == "no-clamp":
        return [(precision, "_may_exceed", lambda source: False)]
    if name == "plain-pool":
        return [(pooling, "is_nan", _never), (pooling, "maximum", _plain_pool)]
    if name == "half-mean":
        return [(float32, "WIDE", float32.WIDE - {"mean"})]
    if name == "gelu-tanh":
        gelu = transformers().activations.NewGELUActivation
        return [(gelu, "forward", lambda self, x: F.gelu(x, approximate="tanh"))]
    if name == "round-trip":
        return [(precision._Caster, "cast", _cast)]
    if name in ("added-mask", "no-mask"):
        return [(attention, "dot_product", lambda *given: _attention(name, *given))]
    return []


def _cast(self: Any, source: torch.fx.Node, dtype: torch.dtype, user: torch.fx.Node) -> Any:
    if precision.op_name(source) == "_to_copy" and source.meta["val"].dtype == torch.float32:
        (inner,) = source.all_input_nodes
        if inner.meta["val"].dtype == dtype:
            return inner
    return _CAST(self, source, dtype, user)


_CAST = precision._Caster.cast


def _never(net: Net, x: Tensor) -> Tensor:
    raise AssertionError("the pooling that looks for NaN was to be left out")


def _plain_pool(net: Net, x: Tensor, parts: Any) -> Tensor:
    parts = pooling._clipped(x, parts)
    post = pooling._fits_layer(x, parts)
    assert post is not None, "this pooling is no layer"
    return pooling._layer(net, x, parts, "MAX", post, exclude=True)


def _attention(
    name: str, net: Net, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool,
    scale: float | None,
) -> Tensor:  # fmt: skip
    q = net.mul(q, attention._scale(net, q, scale))
    if name == "no-mask":
        mask = None
    if name == "added-mask" and mask is not None and mask.dtype == torch.bool:
        mask = _added(net, mask, q.dtype)
    return net.attention(q, k, v, mask, causal)


def _added(net: Net, mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where the mask is true, -inf elsewhere; made once for all layers that share the mask."""
    made: dict[str, Tensor] = net.__dict__.setdefault("_added_masks", {})
    if mask.name not in made:
        low, zero = net.scalar(float("-inf"), dtype), net.scalar(0.0, dtype)
        made[mask.name] = net.select(mask, zero, low)
    return made[mask.name]
