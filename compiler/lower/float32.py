"""The calls that stay in float32 in a half-precision program.

    wide_nodes(exported, weights) -> {node, ...}
    is_heavy(node) -> bool            whether a call is the kind that half precision is for

Three kinds of calls stay:

* those that sum or exponentiate (`WIDE`), as under `torch.autocast`, together with elementwise calls
  between two of them, so that `x.pow(2).mean().add(eps).rsqrt()` never leaves float32;
* arithmetic on positions and masks: floats computed from integers or booleans alone, until they
  meet an activation. Half can't count past 2,048, and rotary angles need more digits;
* anything complex, and control flow with what it runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram

FLOATS = (torch.float32, torch.float64)
WIDE = frozenset((
    "pow", "rsqrt", "reciprocal", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sum",
    "mean", "var", "std", "var_mean", "prod", "cumsum", "cumprod", "logsumexp", "logcumsumexp",
    "norm", "linalg_vector_norm", "_cdist_forward", "_pdist_forward", "tan", "acos", "asin",
    "cosh", "sinh", "erfinv", "digamma", "lgamma",
))  # fmt: skip
"""Operators (any overload) computed in float32: reductions, powers, exponentials, logarithms."""

GLUE = frozenset((
    "add", "sub", "mul", "div", "neg", "abs", "sqrt", "clamp", "clamp_min", "maximum", "minimum",
))  # fmt: skip
"""Elementwise operators that stay in float32 between two WIDE ones."""

HEAVY = frozenset((
    "linear", "addmm", "baddbmm", "einsum", "lstm", "gru", "rnn_tanh", "rnn_relu",
    "scaled_dot_product_attention", "layer_norm", "native_layer_norm", "group_norm",
    "native_group_norm", "instance_norm", "rms_norm", "batch_norm",
    "_native_batch_norm_legit_no_training", "embedding", "embedding_bag",
))  # fmt: skip
"""Operators at which arithmetic on positions and masks ends."""


def wide_nodes(exported: ExportedProgram, weights: set[torch.fx.Node]) -> set[torch.fx.Node]:
    """The calls that stay in float32."""
    calls = [n for n in exported.graph.nodes if n.op == "call_function" and tensors(n)]
    wide = {n for n in calls if op_name(n) in WIDE or touches_complex(n) or is_flow(n)}
    after, before = set(wide), set(wide)
    for node in calls:
        if op_name(node) in GLUE and any(source in after for source in node.all_input_nodes):
            after.add(node)
    for node in reversed(calls):
        if op_name(node) in GLUE and any(user in before for user in node.users):
            before.add(node)
    wide |= (after & before) | _counted(calls, weights)
    # Calls that only prepare weights for calls in float32, such as an expanded table of frequencies.
    from_weights = prepared(calls, weights)
    for node in reversed(calls):
        if node in from_weights and all(user in wide for user in node.users):
            wide.add(node)
    return wide


def _counted(calls: list[torch.fx.Node], weights: set[torch.fx.Node]) -> set[torch.fx.Node]:
    """Calls that compute floats from integers and booleans, with no activation among them."""
    from_weights = weights | prepared(calls, weights)
    found: set[torch.fx.Node] = set()
    for node in calls:
        if is_heavy(node) or not any(map(is_float, tensors(node))):
            continue
        floats = [n for n in node.all_input_nodes if any(map(is_float, tensors(n)))]
        if not floats or (
            any(n in found for n in floats) and all(n in found or n in from_weights for n in floats)
        ):
            found.add(node)
    return found


def prepared(calls: list[torch.fx.Node], weights: set[torch.fx.Node]) -> set[torch.fx.Node]:
    """The calls whose tensors all come from weights."""
    found = set(weights)
    for node in calls:
        sources = [n for n in node.all_input_nodes if tensors(n)]
        if sources and all(n in found for n in sources):
            found.add(node)
    return found - weights


def is_heavy(node: torch.fx.Node) -> bool:
    """Whether a call does a network's real work, which half precision is meant for."""
    name = op_name(node)
    if name in ("matmul", "bmm", "mm"):
        # An outer product (frequencies by positions) is still arithmetic on positions.
        return bool(node.args[0].meta["val"].shape[-1] != 1)  # type: ignore[union-attr]
    return name in HEAVY or name.startswith("conv")


def is_flow(node: torch.fx.Node) -> bool:
    """Whether a node is a branch or a loop, whose body keeps the dtypes that it was traced with."""
    return isinstance(node.target, torch._ops.HigherOrderOperator)


def op_name(node: torch.fx.Node) -> str:
    """An operator's name without namespace and overload; empty for what is not one."""
    target = node.target
    return (
        target._schema.name.partition("::")[2] if isinstance(target, torch._ops.OpOverload) else ""
    )


def tensors(node: torch.fx.Node) -> list[Any]:
    """The tensors that a node's value is or holds, as metadata."""
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return [v for v in values if isinstance(v, torch.Tensor)]


def is_float(value: Any) -> bool:
    """Whether a tensor is float32 or float64."""
    return value.dtype in FLOATS


def touches_complex(node: torch.fx.Node) -> bool:
    """Whether a call reads or gives a complex tensor."""
    values = [*tensors(node), *(t for source in node.all_input_nodes for t in tensors(source))]
    return any(v.dtype.is_complex for v in values)
