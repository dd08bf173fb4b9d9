"""Batch norm on fixed statistics, folded into the convolution before it, else a product and a sum.

A convolution with its norm folded in is one layer with a bias, the form that every inference
engine is tuned for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.lower.conditions import functional
from compiler.lower.constants import add_constant
from compiler.lower.graphs import calls, weight_nodes
from compiler.lower.passes import LowerOptions, Pass

aten = torch.ops.aten
WHOLE = "aten.batch_norm.default"
"""As exported, with one result. Decomposed, a norm also returns its statistics."""
DECOMPOSED = "aten._native_batch_norm_legit_no_training.default"
CONVOLUTIONS = frozenset(
    {"aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default", "aten.conv1d.padding",
     "aten.conv2d.padding", "aten.conv3d.padding", "aten.convolution.default"}
)  # fmt: skip
TRANSPOSED = 6
"""The place of `transposed` among the arguments of aten.convolution."""


def _fold(exported: ExportedProgram, options: LowerOptions) -> ExportedProgram:
    weights = weight_nodes(exported)
    for node in calls(exported):
        found = _stored(node, weights)
        if found is None:
            continue
        source, gamma, beta, mean, var, eps = found
        with torch.no_grad():
            scale = (weights[var].double() + eps).rsqrt()
            scale = scale * weights[gamma].double() if gamma is not None else scale
            shift = -weights[mean].double() * scale
            shift = shift + weights[beta].double() if beta is not None else shift
        if _is_foldable(source, weights):
            _replace(node, _convolve(exported, source, weights, scale, shift))
            continue
        if str(node.target) in options.keep:
            continue
        dtype, rank = source.meta["val"].dtype, source.meta["val"].dim()
        broadcast = (-1, *[1] * (rank - 2))
        factor = add_constant(exported, f"{node.name}_scale", scale.to(dtype).view(broadcast), node)
        offset = add_constant(exported, f"{node.name}_shift", shift.to(dtype).view(broadcast), node)
        with exported.graph.inserting_before(node):
            product = _binary(exported, aten.mul.Tensor, source, factor, node)
            result = _binary(exported, aten.add.Tensor, product, offset, node)
        _replace(node, result)
    return exported


def _stored(
    node: torch.fx.Node, weights: dict[torch.fx.Node, torch.Tensor]
) -> tuple[Any, ...] | None:
    """The arguments of a norm whose statistics and parameters are all weights; None for other nodes."""
    found = _arguments(node)
    if found is None or any(item is not None and item not in weights for item in found[1:5]):
        return None
    return found


def _arguments(node: torch.fx.Node) -> tuple[Any, ...] | None:
    """Input, weight, bias, mean, variance and eps of a norm on fixed statistics; None for other nodes."""
    if str(node.target) == DECOMPOSED:
        return (*node.args[:5], node.args[6])
    if str(node.target) == WHOLE and not node.args[5]:
        return (*node.args[:5], node.args[7])
    return None


def _replace(norm: torch.fx.Node, result: torch.fx.Node) -> None:
    """Put `result` in place of the norm's first output; inference reads no saved statistics."""
    for node in _results(norm):
        node.replace_all_uses_with(result)
    for part in [part for part in norm.users if not part.users]:
        norm.graph.erase_node(part)
    if not norm.users:  # once it is gone, a norm after this one may be folded too
        norm.graph.erase_node(norm)


def _results(norm: torch.fx.Node) -> list[torch.fx.Node]:
    """The nodes that stand for the norm's first output."""
    if str(norm.target) == WHOLE:
        return [norm]
    return [user for user in norm.users if user.args[1] == 0]


def _is_foldable(source: Any, weights: dict[torch.fx.Node, torch.Tensor]) -> bool:
    """Whether `source` is a convolution with stored weights that only the norm reads."""
    if str(source.target) not in CONVOLUTIONS or len(source.users) != 1:
        return False
    if len(source.args) > TRANSPOSED and source.args[TRANSPOSED] is True:
        return False  # its kernel has the output channels in another dimension
    kernel, bias = _kernel_and_bias(source)
    return kernel in weights and (bias is None or bias in weights)


def _kernel_and_bias(convolution: torch.fx.Node) -> tuple[Any, Any]:
    bias = convolution.args[2] if len(convolution.args) > 2 else convolution.kwargs.get("bias")
    return convolution.args[1], bias


def _convolve(
    exported: ExportedProgram,
    source: torch.fx.Node,
    weights: dict[torch.fx.Node, torch.Tensor],
    scale: torch.Tensor,
    shift: torch.Tensor,
) -> torch.fx.Node:
    """The convolution with kernel * scale and bias * scale + shift.

    `scale` and `shift` are float64. Kernels are large, so `scale` is first rounded to the dtype that they
    are multiplied in.
    """
    kernel, bias = _kernel_and_bias(source)
    old = weights[kernel]
    factor = scale.view(-1, *[1] * (old.dim() - 1))
    offset = shift if bias is None else weights[bias].double() * scale + shift
    with torch.no_grad():
        work = torch.promote_types(old.dtype, torch.float32)
        scaled = (old.to(work) * factor.to(work)).to(old.dtype)
        moved = offset.to(old.dtype)
    new_kernel = add_constant(exported, f"{source.name}_kernel", scaled, source)
    new_bias = add_constant(exported, f"{source.name}_bias", moved, source)
    weights |= {new_kernel: scaled, new_bias: moved}
    source.args = (source.args[0], new_kernel, new_bias, *source.args[3:])
    source.kwargs = {name: value for name, value in source.kwargs.items() if name != "bias"}
    return source


def _binary(
    exported: ExportedProgram,
    op: Any,
    left: torch.fx.Node,
    right: torch.fx.Node,
    like: torch.fx.Node,
) -> torch.fx.Node:
    node: torch.fx.Node = exported.graph.call_function(op, (left, right))
    node.meta = {k: v for k, v in like.meta.items() if k in ("stack_trace", "nn_module_stack")}
    node.meta["val"] = left.meta["val"]
    return node


def batch_norms_folded(exported: ExportedProgram, options: LowerOptions) -> str | None:
    """No batch norm on stored statistics after a convolution, nor elsewhere unless kept whole."""
    weights = weight_nodes(exported)
    for node in calls(exported):
        found = _stored(node, weights)
        if found is None or not _results(node):
            continue
        if _is_foldable(found[0], weights):
            return f"node {node.name} ({node.target}) follows the convolution {found[0]}"
        if str(node.target) not in options.keep:
            return f"node {node.name} calls {node.target}, which is not kept whole"
    return None


FOLD_BATCH_NORM = Pass(
    name="fold_batch_norm",
    requires=(functional,),
    ensures=(batch_norms_folded,),
    run=_fold,
    reads=("keep",),
)
