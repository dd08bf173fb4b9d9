"""Decomposes everything that the converters do not take whole into core, functional ATen."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch._decomp import decomposition_table
from torch._export import config as export_config
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import SYMPY_INTERP

from compiler.lower import embedding_renorm, linear_cross_entropy, resized
from compiler.lower.conditions import functional, values_known
from compiler.lower.graphs import calls
from compiler.lower.hoist import hoisted
from compiler.lower.noops import ASSERTS, is_inactive_dropout
from compiler.lower.once import done_once
from compiler.lower.passes import LowerOptions, LowerRefused, Pass
from compiler.lower.spelled import spelled_out
from compiler.lower.undecomposed import without_decomposition
from compiler.refused import first_lines
from compiler.trace import composites
from compiler.trace.short_sizes import kept_short

_KEPT = """
    scaled_dot_product_attention.default layer_norm.default native_layer_norm.default
    group_norm.default instance_norm.default rms_norm.default linear.default matmul.default
    conv1d.default conv2d.default conv3d.default conv1d.padding conv2d.padding
    _native_batch_norm_legit_no_training.default convolution.default
    conv_transpose1d.default conv_transpose2d.input conv_transpose3d.input
    lstm.input gru.input rnn_tanh.input rnn_relu.input gelu.default silu.default mish.default hardswish.default
    hardsigmoid.default elu.default selu.default celu.default leaky_relu.default softplus.default
    log_sigmoid.default prelu.default relu6.default softmax.int log_softmax.int _softmax.default
    _log_softmax.default upsample_nearest1d.vec upsample_nearest2d.vec upsample_nearest3d.vec
    upsample_linear1d.vec upsample_bilinear2d.vec upsample_bicubic2d.vec upsample_trilinear3d.vec
    max_pool1d.default max_pool2d.default max_pool3d.default avg_pool1d.default
    adaptive_avg_pool1d.default adaptive_avg_pool2d.default split.Tensor split_with_sizes.default
    stack.default unbind.int pixel_shuffle.default pixel_unshuffle.default einsum.default
"""
DEFAULT_KEEP = frozenset(f"aten.{name}" for name in _KEPT.split())
"""What to leave whole where no converter registry decides: operators that every runtime has."""


def _decompose(exported: ExportedProgram, options: LowerOptions) -> ExportedProgram:
    spared = without_decomposition(exported, options.keep)
    if spared is not None:
        return spared
    dynamic = _dynamic(exported)
    try:
        with (
            torch.no_grad(),
            kept_short(),
            _writes_by_argument(),
            _guards_of_symbols(),
            done_once(),
        ):
            ready = spelled_out(embedding_renorm.as_values(hoisted(exported)), options.keep)
            lowered: ExportedProgram = ready.run_decompositions(_table(options.keep))
    except Exception as error:  # decompositions run operators' Python code, which raises anything
        raise LowerRefused(
            "decompose",
            f"decomposing the exported program fails: {first_lines(error)}",
            "name the operator in torch_executed_ops, which leaves it whole",
        ) from error
    if fixed := dynamic - _dynamic(lowered):
        name, axis = min(fixed)
        raise LowerRefused(
            "fixed",
            f"decomposing the exported program fixes dimension {axis} of input {name!r} to a number: an "
            "operator's own code reads it",
            "make the dimension a number, or name the operator in torch_executed_ops, which leaves it whole",
        )
    # Torch shares both dictionaries with the given program; later passes write into them.
    lowered._state_dict = dict(lowered.state_dict)
    lowered._constants = dict(lowered.constants)
    return lowered


@contextmanager
def _writes_by_argument() -> Iterator[None]:
    """A library's operator that writes into its arguments becomes a call that returns their new values.

    Torch's newer form of it returns those of the memory behind them, which no graph of ours has.
    """
    from torch._inductor import (
        config as inductor_config,  # a second: whoever only builds does without
    )

    with (
        inductor_config.patch(enable_auto_functionalized_v2=False),
        export_config.patch(enable_auto_functionalized_v2_for_export=False),
    ):
        yield


@contextmanager
def _guards_of_symbols() -> Iterator[None]:
    """The program's guards are asked again, as Python code. Its `min` and `max` take symbols here: Python's own would
    ask which is smaller, and the answer of the example's sizes would narrow the program to them."""
    own: dict[str, Any] = {
        name: SYMPY_INTERP[name] for name in ("min", "max") if name in SYMPY_INTERP
    }
    pairs: dict[str, Callable[..., Any]] = {"min": torch.sym_min, "max": torch.sym_max}
    SYMPY_INTERP.update(
        {name: functools.partial(_of_all, of_two) for name, of_two in pairs.items()}
    )
    try:
        yield
    finally:
        for name in pairs:
            del SYMPY_INTERP[name]
        SYMPY_INTERP.update(own)


def _of_all(of_two: Callable[[Any, Any], Any], *numbers: Any) -> Any:
    return functools.reduce(of_two, numbers)


@functools.lru_cache(maxsize=8)
def _table(keep: frozenset[str]) -> dict[Any, Callable[..., Any]]:
    return {op: rule for op, rule in _default_table().items() if str(op) not in keep}


def decomposed_ops(keep: frozenset[str]) -> frozenset[str]:
    """The overloads that the table has a rule for, except those that `keep` leaves whole."""
    return frozenset(str(op) for op in _table(keep))


def _dynamic(exported: ExportedProgram) -> set[tuple[str, int]]:
    """The dimensions of inputs, by name and axis, whose size is no number. Ask before a pass and after:
    a size that torch fixes becomes one in every program that shares its symbols."""
    return {
        (node.name, axis)
        for node in exported.graph.nodes
        if node.op == "placeholder" and isinstance(node.meta.get("val"), torch.Tensor)
        for axis, size in enumerate(node.meta["val"].shape)
        if isinstance(size, torch.SymInt) and not size.node.expr.is_number
    }


@functools.cache
def _default_table() -> Mapping[Any, Callable[..., Any]]:
    """Torch's table and ours, built once: that takes longer than decomposing a small model."""
    composites.install()  # torch's table takes the forms that there are when it is made
    table = torch.export.default_decompositions()
    updates = torch.ops.aten._batch_norm_with_update_functional.default  # which torch leaves whole
    more = {
        updates: decomposition_table[updates],
        **linear_cross_entropy.rules(),
        **resized.rules(),
        **embedding_renorm.rules(),
    }
    return dict(table.items()) | more  # type: ignore[no-untyped-call]


def decomposed(exported: ExportedProgram, options: LowerOptions) -> str | None:
    """No call that the decomposition table has a rule for, unless its operator is kept whole."""
    table = _table(options.keep)
    for node in calls(exported):
        # Later passes remove assertions and inactive dropout, and take what a rule leaves; the table does not
        # apply to sizes.
        spared = node.target in ASSERTS or is_inactive_dropout(node) or _is_number(node)
        if node.target in table and not (spared or resized.is_left(node)):
            return f"node {node.name} calls {node.target}"
    return None


def _is_number(node: torch.fx.Node) -> bool:
    value = node.meta["val"]
    return isinstance(value, int | float | torch.SymInt | torch.SymFloat | torch.SymBool)


DECOMPOSE = Pass(
    name="decompose",
    requires=(values_known,),
    ensures=(decomposed, functional),
    run=_decompose,
    reads=("keep",),
)
