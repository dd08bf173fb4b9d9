"""Half precision as a property of the graph: fp16 and bf16.

Weights and floating inputs are cast at the border, calls compute in half, outputs are cast back, so
that a bundle's inputs and outputs keep their declared dtypes. Three kinds of calls stay in float32:

* those that sum or exponentiate (`WIDE`), as `torch.autocast` keeps them, together with elementwise
  calls between two of them, so that `x.pow(2).mean().add(eps).rsqrt()` never leaves float32;
* arithmetic on positions and masks: floats computed from integers or booleans alone, until they
  meet an activation. Half can't count past 2,048, and rotary angles need more digits;
* anything complex.

Calls whose result the model itself wants in half, as under `torch.autocast`, stay as they are.

Layer norm, softmax and attention take half inputs: torch and TensorRT both accumulate them in
float32 inside. Numbers past half's range, such as the -3.4e38 that masks are filled with, become its
finite limits wherever float32 is cast to half.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind

from compiler.lower.conditions import functional
from compiler.lower.graphs import calls, weight_nodes
from compiler.lower.passes import Options, Pass

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
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

aten = torch.ops.aten


def _cast(exported: ExportedProgram, options: Options) -> ExportedProgram:
    if options.precision not in HALVES:
        return exported
    half = HALVES[options.precision]
    original = {n: n.meta.get("val") for n in exported.graph.nodes}
    weights = weight_nodes(exported)
    wide = _wide_nodes(exported, set(weights))
    _cast_weights(exported, weights, wide, half)
    caster = _Caster(exported, half, original)
    for node in list(exported.graph.nodes):
        if node.op == "call_function":
            caster.rewrite(node, node in wide)
    caster.restore_outputs()
    return exported


def _wide_nodes(exported: ExportedProgram, weights: set[torch.fx.Node]) -> set[torch.fx.Node]:
    """The calls that stay in float32."""
    calls = [n for n in exported.graph.nodes if n.op == "call_function" and _tensors(n)]
    wide = {n for n in calls if _name(n) in WIDE or _is_complex(n)}
    after, before = set(wide), set(wide)
    for node in calls:
        if _name(node) in GLUE and any(source in after for source in node.all_input_nodes):
            after.add(node)
    for node in reversed(calls):
        if _name(node) in GLUE and any(user in before for user in node.users):
            before.add(node)
    wide |= (after & before) | _counted(calls, weights)
    # What only prepares weights for calls in float32, such as an expanded table of frequencies.
    prepared = _prepared(calls, weights)
    for node in reversed(calls):
        if node in prepared and all(user in wide for user in node.users):
            wide.add(node)
    return wide


def _counted(calls: list[torch.fx.Node], weights: set[torch.fx.Node]) -> set[torch.fx.Node]:
    """Calls that compute floats from integers and booleans, with no activation among them."""
    prepared = weights | _prepared(calls, weights)
    found: set[torch.fx.Node] = set()
    for node in calls:
        if _is_heavy(node) or not any(map(_is_float, _tensors(node))):
            continue
        floats = [n for n in node.all_input_nodes if any(map(_is_float, _tensors(n)))]
        if not floats or (
            any(n in found for n in floats) and all(n in found or n in prepared for n in floats)
        ):
            found.add(node)
    return found


def _prepared(calls: list[torch.fx.Node], weights: set[torch.fx.Node]) -> set[torch.fx.Node]:
    """Calls whose every tensor comes from weights."""
    found = set(weights)
    for node in calls:
        sources = [n for n in node.all_input_nodes if _tensors(n)]
        if sources and all(n in found for n in sources):
            found.add(node)
    return found - weights


def _is_heavy(node: torch.fx.Node) -> bool:
    """Whether a call does a network's real work, for which half precision was asked."""
    name = _name(node)
    if name in ("matmul", "bmm", "mm"):
        # An outer product (frequencies by positions) is arithmetic on positions still.
        return bool(node.args[0].meta["val"].shape[-1] != 1)  # type: ignore[union-attr]
    return name in HEAVY or name.startswith("conv")


def _cast_weights(
    exported: ExportedProgram,
    weights: dict[torch.fx.Node, torch.Tensor],
    wide: set[torch.fx.Node],
    half: torch.dtype,
) -> None:
    """Floats in half, but for weights that a call in float32 reads: those keep their digits."""
    targets = {s.arg.name: s.target for s in exported.graph_signature.input_specs}
    for node, tensor in weights.items():
        if tensor.dtype not in FLOATS or any(user in wide for user in node.users):
            continue
        limit = torch.finfo(half).max
        narrow = torch.where(tensor.isinf(), tensor, tensor.clamp(-limit, limit)).to(half)
        target = targets[node.name]
        assert target is not None
        if target in exported.state_dict:
            is_parameter = isinstance(exported.state_dict[target], torch.nn.Parameter)
            exported.state_dict[target] = (
                torch.nn.Parameter(narrow, requires_grad=False) if is_parameter else narrow
            )
        else:
            exported.constants[target] = narrow
        node.meta["val"] = _with_dtype(node.meta["val"], half)


class _Caster:
    """Rewrites calls one by one, in order; casts are made once for each value and dtype."""

    def __init__(
        self, exported: ExportedProgram, half: torch.dtype, original: dict[torch.fx.Node, Any]
    ) -> None:
        self.exported = exported
        self.original = original
        self.graph = exported.graph
        self.half = half
        self.casts: dict[tuple[torch.fx.Node, torch.dtype], torch.fx.Node] = {}

    def rewrite(self, node: torch.fx.Node, wide: bool) -> None:
        """Give a call its arguments, and its metadata, in half or (if `wide`) in float32."""
        floats = [n for n in node.all_input_nodes if any(map(_is_half_or_float, _tensors(n)))]
        is_result = any(map(_is_float, _tensors(node)))
        if node.target is operator.getitem:
            source = node.args[0]
            assert isinstance(source, torch.fx.Node)
            node.meta["val"] = source.meta["val"][node.args[1]]
            return
        if not floats and not is_result:
            return
        if not is_result and any(map(_is_half_or_float, _tensors(node))):
            # The model asks for half here itself: it gets what it would without this pass.
            for source in floats:
                want = self.original[source].dtype
                if source.meta["val"].dtype != want:
                    node.replace_input_with(source, self.cast(source, want, node))
            return
        # A comparison or a rounding to integers takes its arguments as the widest of them comes.
        wide = wide or (not is_result and any(_is_float(t) for n in floats for t in _tensors(n)))
        dtype = torch.float32 if wide else self.half
        for source in floats:
            if isinstance(source.meta["val"], torch.Tensor) and source.meta["val"].dtype != dtype:
                node.replace_input_with(source, self.cast(source, dtype, node))
        node.args = _narrowed(node.args, self.half, wide)
        node.kwargs = _narrowed(node.kwargs, self.half, wide)
        node.meta["val"] = _with_dtype(node.meta["val"], dtype)

    def cast(self, source: torch.fx.Node, dtype: torch.dtype, user: torch.fx.Node) -> torch.fx.Node:
        """`source` in `dtype`, within half's finite range if it comes from float32."""
        key = (source, dtype)
        if key not in self.casts:
            with self.graph.inserting_before(user):
                value = source
                if dtype == self.half and _may_exceed(source):
                    limit = torch.finfo(self.half).max
                    value = self._call(aten.clamp.default, (source, -limit, limit), {}, source)
                self.casts[key] = self._call(
                    aten._to_copy.default, (value,), {"dtype": dtype}, source
                )
                self.casts[key].meta["val"] = _with_dtype(source.meta["val"], dtype)
        return self.casts[key]

    def restore_outputs(self) -> None:
        """Cast every floating output back to the dtype that the model returns."""
        (output,) = [n for n in self.graph.nodes if n.op == "output"]
        specs = self.exported.graph_signature.output_specs
        leaves = []
        for spec, leaf in zip(specs, output.args[0], strict=True):
            if spec.kind == OutputKind.USER_OUTPUT and isinstance(leaf, torch.fx.Node):
                want = getattr(self.original.get(leaf), "dtype", None)
                if want is not None and leaf.meta["val"].dtype != want:
                    leaf = self.cast(leaf, want, output)
            leaves.append(leaf)
        output.args = (tuple(leaves),)

    def _call(
        self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any], like: torch.fx.Node
    ) -> torch.fx.Node:
        node: torch.fx.Node = self.graph.call_function(op, args, kwargs)
        node.meta = dict(like.meta)
        return node


def _narrowed(value: Any, half: torch.dtype, wide: bool) -> Any:
    """An argument with float dtypes replaced; scalars past half's range cut to it."""
    if isinstance(value, dict):
        return {name: _narrowed(item, half, wide) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_narrowed(item, half, wide) for item in value)
    if value in FLOATS if isinstance(value, torch.dtype) else False:
        return torch.float32 if wide else half
    if isinstance(value, float) and math.isfinite(value) and not wide:
        limit = torch.finfo(half).max
        return min(max(value, -limit), limit)
    return value


def _may_exceed(source: torch.fx.Node) -> bool:
    """Whether a float32 value can pass half's range: results of rsqrt and of means do not."""
    return _name(source) not in ("rsqrt", "mean", "cos", "sin", "log", "sigmoid", "tanh")


def _name(node: torch.fx.Node) -> str:
    target = node.target
    return (
        target._schema.name.partition("::")[2] if isinstance(target, torch._ops.OpOverload) else ""
    )


def _tensors(node: torch.fx.Node) -> list[Any]:
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return [v for v in values if isinstance(v, torch.Tensor)]


def _is_float(value: Any) -> bool:
    return value.dtype in FLOATS


def _is_half_or_float(value: Any) -> bool:
    return bool(value.dtype.is_floating_point)


def _is_complex(node: torch.fx.Node) -> bool:
    values = [*_tensors(node), *(t for source in node.all_input_nodes for t in _tensors(source))]
    return any(v.dtype.is_complex for v in values)


def _with_dtype(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_with_dtype(item, dtype) for item in value)
    if isinstance(value, torch.Tensor) and value.dtype.is_floating_point:
        with value.fake_mode:  # type: ignore[attr-defined]
            return value.to(dtype)
    return value


def heavy_calls_cast(exported: ExportedProgram, options: Options) -> str | None:
    """In half precision, no HEAVY call on activations computes in float32 or float64."""
    if options.precision not in HALVES:
        return None
    prepared = _prepared(calls(exported), set(weight_nodes(exported)))
    for node in calls(exported):
        if not _is_heavy(node) or _is_complex(node) or node in prepared:
            continue
        if any(map(_is_float, _tensors(node))):
            return f"node {node.name} ({node.target}) computes in {_tensors(node)[0].dtype}"
    return None


def weights_cast(exported: ExportedProgram, options: Options) -> str | None:
    """In half precision, no weight is stored in float32 or float64 only to be cast when it is read."""
    if options.precision not in HALVES:
        return None
    for node, tensor in weight_nodes(exported).items():
        if tensor.dtype in FLOATS and node.users and _only_cast(node, HALVES[options.precision]):
            return f"weight {node.name} is stored in {tensor.dtype}"
    return None


def _only_cast(node: torch.fx.Node, half: torch.dtype) -> bool:
    """Whether each reader of a node casts it to half, perhaps clamped before."""
    return all(
        (user.target is aten._to_copy.default and user.kwargs.get("dtype") == half)
        or (user.target is aten.clamp.default and _only_cast(user, half))
        for user in node.users
    )


CAST = Pass(
    name="cast",
    requires=(functional,),
    ensures=(heavy_calls_cast, weights_cast),
    run=_cast,
    reads=("precision",),
)
