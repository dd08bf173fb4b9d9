"""Half precision as a property of the graph: fp16 and bf16.

Weights and floating-point inputs are cast at the border, calls compute in half, and outputs are cast
back, so that a bundle's inputs and outputs keep their declared dtypes. Some calls stay in float32:
compiler/lower/float32.py says which. Calls whose result the model itself wants in half, as under
`torch.autocast`, are left alone.

Layer norm, softmax and attention take half inputs: torch and TensorRT both accumulate them in
float32 inside. Finite numbers beyond half's range, such as the -3.4e38 that masks are filled with,
become its finite limits wherever float32 is cast to half; an infinity stays one. Not so where only
convolutions read an input: no mask is one, and TensorRT then casts it on its way to the first of them.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind

from compiler.lower.conditions import functional
from compiler.lower.float32 import (
    FLOATS,
    is_float,
    is_flow,
    is_heavy,
    op_name,
    prepared,
    tensors,
    touches_complex,
    wide_nodes,
)
from compiler.lower.graphs import calls, weight_nodes
from compiler.lower.passes import LowerOptions, Pass

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
aten = torch.ops.aten

_RETURNED = (OutputKind.USER_OUTPUT, OutputKind.USER_INPUT_MUTATION)
"""Forward's results, and the new values of inputs that it writes into."""


def _cast(exported: ExportedProgram, options: LowerOptions) -> ExportedProgram:
    if options.precision not in HALVES:
        return exported
    half = HALVES[options.precision]
    original = {n: n.meta.get("val") for n in exported.graph.nodes}
    weights = weight_nodes(exported)
    wide = wide_nodes(exported, set(weights))
    _cast_weights(exported, weights, wide, half)
    caster = _Caster(exported, half, original)
    for node in list(exported.graph.nodes):
        if node.op == "call_function":
            caster.rewrite(node, node in wide)
    caster.restore_outputs()
    return exported


def _cast_weights(
    exported: ExportedProgram,
    weights: dict[torch.fx.Node, torch.Tensor],
    wide: set[torch.fx.Node],
    half: torch.dtype,
) -> None:
    """Cast floating-point weights to half, except those that a call in float32 reads."""
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
    """Rewrites calls one by one, in order; each value is cast to each dtype at most once."""

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
        floats = [n for n in node.all_input_nodes if any(map(_is_half_or_float, tensors(n)))]
        is_result = any(map(is_float, tensors(node)))
        if node.target is operator.getitem:
            source = node.args[0]
            assert isinstance(source, torch.fx.Node)
            node.meta["val"] = source.meta["val"][node.args[1]]
            return
        if not floats and not is_result:
            return
        if is_flow(node) or (not is_result and any(map(_is_half_or_float, tensors(node)))):
            # A body's dtypes are the traced ones, and where the model itself asks for half, it gets what
            # it would without this pass.
            for source in floats:
                want = self.original[source].dtype
                if source.meta["val"].dtype != want:
                    node.replace_input_with(source, self.cast(source, want, node))
            return
        # A comparison or a rounding to integers takes its arguments in the widest dtype among them.
        wide = wide or (not is_result and any(is_float(t) for n in floats for t in tensors(n)))
        dtype = torch.float32 if wide else self.half
        for source in floats:
            if isinstance(source.meta["val"], torch.Tensor) and source.meta["val"].dtype != dtype:
                node.replace_input_with(source, self.cast(source, dtype, node))
        node.args = _narrowed(node.args, self.half, wide)
        node.kwargs = _narrowed(node.kwargs, self.half, wide)
        node.meta["val"] = _with_dtype(node.meta["val"], dtype)

    def cast(self, source: torch.fx.Node, dtype: torch.dtype, user: torch.fx.Node) -> torch.fx.Node:
        """`source` in `dtype`; finite values of float32 within half's finite range."""
        if dtype == self.half and (given := _widened(source, self.half)) is not None:
            return given
        key = (source, dtype)
        if key not in self.casts:
            with self.graph.inserting_before(user):
                value = source
                if dtype == self.half and _may_exceed(source):
                    limit = torch.finfo(self.half).max
                    bounded = self._call(aten.clamp.default, (source, -limit, limit), {}, source)
                    endless = self._call(aten.isinf.default, (source,), {}, source)
                    with endless.meta["val"].fake_mode:
                        endless.meta["val"] = torch.isinf(source.meta["val"])
                    value = self._call(aten.where.self, (endless, source, bounded), {}, source)
                self.casts[key] = self._call(
                    aten._to_copy.default, (value,), {"dtype": dtype}, source
                )
                self.casts[key].meta["val"] = _with_dtype(source.meta["val"], dtype)
        return self.casts[key]

    def restore_outputs(self) -> None:
        """Cast every floating output, and every input's new value, back to the dtype that the model gives."""
        (output,) = [n for n in self.graph.nodes if n.op == "output"]
        specs = self.exported.graph_signature.output_specs
        leaves = []
        for spec, leaf in zip(specs, output.args[0], strict=True):
            if spec.kind in _RETURNED and isinstance(leaf, torch.fx.Node):
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
    """An argument with float dtypes replaced, and scalars beyond half's range clamped to it."""
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


def _widened(source: torch.fx.Node, half: torch.dtype) -> torch.fx.Node | None:
    """What `source` was before it was cast from half to float32; None if it is no such cast."""
    given = source
    while given.target is aten._to_copy.default and set(given.kwargs) == {"dtype"}:
        if given.meta["val"].dtype not in FLOATS:
            return None
        (before,) = given.all_input_nodes
        if before.meta["val"].dtype == half:
            return before
        given = before
    return None


def _may_exceed(source: torch.fx.Node) -> bool:
    """Whether a float32 value that exceeds half's range must be bounded; the results of these operators do not."""
    if source.op == "placeholder" and all(
        op_name(user).startswith("conv") for user in source.users
    ):
        return False
    return op_name(source) not in ("rsqrt", "mean", "cos", "sin", "log", "sigmoid", "tanh")


def _is_half_or_float(value: Any) -> bool:
    return bool(value.dtype.is_floating_point)


def _with_dtype(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_with_dtype(item, dtype) for item in value)
    if isinstance(value, torch.Tensor) and value.dtype.is_floating_point:
        with value.fake_mode:  # type: ignore[attr-defined]
            return value.to(dtype)
    return value


def heavy_calls_cast(exported: ExportedProgram, options: LowerOptions) -> str | None:
    """In half precision, no HEAVY call on activations computes in float32 or float64."""
    if options.precision not in HALVES:
        return None
    from_weights = prepared(calls(exported), set(weight_nodes(exported)))
    for node in calls(exported):
        if not is_heavy(node) or touches_complex(node) or node in from_weights:
            continue
        if any(map(is_float, tensors(node))):
            return f"node {node.name} ({node.target}) computes in {tensors(node)[0].dtype}"
    return None


def weights_cast(exported: ExportedProgram, options: LowerOptions) -> str | None:
    """In half precision, no weight is stored in float32 or float64 only to be cast when it is read."""
    if options.precision not in HALVES:
        return None
    for node, tensor in weight_nodes(exported).items():
        if tensor.dtype in FLOATS and node.users and _only_cast(node, HALVES[options.precision]):
            return f"weight {node.name} is stored in {tensor.dtype}"
    return None


_BOUNDING = (aten.clamp.default, aten.isinf.default, aten.where.self)
"""What `_Caster.cast` puts before a cast."""


def _only_cast(node: torch.fx.Node, half: torch.dtype) -> bool:
    """Whether each reader of a node casts it to half, perhaps after bounding it."""
    return all(
        (user.target is aten._to_copy.default and user.kwargs.get("dtype") == half)
        or (user.target in _BOUNDING and _only_cast(user, half))
        for user in node.users
    )


CAST = Pass(
    name="cast",
    requires=(functional,),
    ensures=(heavy_calls_cast, weights_cast),
    run=_cast,
    reads=("precision",),
)
