"""Operators that torch's Python functions call faster than `torch.ops` does: the same operator, with its arguments in
the same order. A call through `torch.ops` takes 2 to 3 microseconds more, as long as a small operator itself.

    direct(node, operator) -> the function to call
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from enginebundle.format.node import Node

_OF_TORCH = (
    "abs.default", "add.Tensor", "addmm.default", "bmm.default", "cat.default",
    "clamp.default", "conv1d.default", "conv2d.default", "cos.default", "cumsum.default", "div.Tensor",
    "embedding.default", "eq.Scalar", "eq.Tensor", "exp.default",
    "flatten.using_ints", "ge.Scalar", "ge.Tensor", "group_norm.default", "gt.Scalar", "gt.Tensor",
    "layer_norm.default", "le.Scalar", "le.Tensor", "log.default", "lt.Scalar", "lt.Tensor",
    "matmul.default", "max_pool2d.default", "mean.dim", "mm.default", "mul.Tensor", "ne.Scalar",
    "ne.Tensor", "neg.default", "permute.default", "pow.Tensor_Scalar", "relu.default",
    "reshape.default", "rsqrt.default", "select.int", "sigmoid.default", "sin.default", "softmax.int",
    "sqrt.default", "squeeze.dim", "stack.default", "sub.Tensor", "sum.dim_IntList", "tanh.default",
    "transpose.int", "unsqueeze.default", "where.self",
)  # fmt: skip
_OF_A_TENSOR = ("contiguous.default", "expand.default", "masked_fill.Scalar", "view.default")
_OF_NN = (
    "adaptive_avg_pool2d.default", "avg_pool2d.default", "gelu.default", "hardtanh.default",
    "linear.default", "silu.default",
)  # fmt: skip


@functools.cache
def functions() -> Mapping[str, Callable[..., Any]]:
    """By the operator's full name."""
    import torch

    rooms: tuple[tuple[Any, tuple[str, ...]], ...] = (
        (torch, _OF_TORCH),
        (torch.Tensor, _OF_A_TENSOR),
        (torch._C._nn, _OF_NN),
    )
    return {
        f"aten.{name}": getattr(room, name.partition(".")[0])
        for room, names in rooms
        for name in names
    }


def direct(node: Node, operator: Any) -> Callable[..., Any]:
    """The faster function, or the operator itself. A function takes more than its operator does, as `out`: a node
    that gives anything but the operator's own arguments gets the operator, which refuses it."""
    function = functions().get(node.op)
    given = [argument for argument in operator._schema.arguments if not argument.kwarg_only]
    names = {argument.name for argument in operator._schema.arguments} - {"self"}
    fits = len(node.args) <= len(given) and {name for name, _ in node.kwargs} <= names
    found: Callable[..., Any] = operator if function is None or not fits else function
    return found
