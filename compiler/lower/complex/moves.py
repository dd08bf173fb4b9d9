"""Complex values moved, selected, created and taken apart, with real tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from compiler.lower.complex.table import Rule, Rules, bound, called, is_complex, real_word, zeros
from compiler.lower.complex.values import Complex, Part, Values

aten = torch.ops.aten
map_aggregate: Any = torch.fx.node.map_aggregate
RULES = Rules()


# -- the same for each part ----------------------------------------------------------------

_LINEAR = {
    "self": """
        alias.default clone.default contiguous.default cumsum.default detach.default
        diag_embed.default diagonal.default diagonal_copy.default expand.default expand_copy.default
        flatten.using_ints flip.default gather.default index.Tensor index_select.default
        lift_fresh_copy.default mean.default mean.dim movedim.int movedim.intlist narrow.default
        neg.default permute.default permute_copy.default repeat.default repeat_interleave.self_int
        reshape.default resolve_conj.default resolve_neg.default roll.default rot90.default
        select.int slice.Tensor split.Tensor split_with_sizes.default squeeze.default squeeze.dim
        squeeze.dims sum.default sum.dim_IntList t.default take.default tile.default
        trace.default transpose.int tril.default triu.default unbind.int unflatten.int
        unfold.default unsqueeze.default view.default view_copy.default _unsafe_index.Tensor
        _unsafe_view.default chunk.default swapaxes.default swapdims.default
    """,
    "self value": "fill.Scalar fill.Tensor constant_pad_nd.default masked_fill.Scalar masked_fill.Tensor pad.default",
    "self values": "index_put.default _unsafe_index_put.default",
    "self src": """
        copy.default scatter.src scatter_add.default select_scatter.default slice_scatter.default
    """,
    "self source": "index_add.default index_copy.default masked_scatter.default",
    "self other": "where.self where.ScalarOther where.ScalarSelf",
    "tensors": "cat.default stack.default",
}
"""Linear operators, by the arguments that hold values."""


def _linear(slots: tuple[str, ...]) -> Rule:
    def convert(values: Values, node: torch.fx.Node) -> Complex | torch.fx.Node:
        arguments = bound(node)
        given = {
            name: map_aggregate(arguments[name], lambda a: _parts(values, a)) for name in slots
        }
        rest = {k: real_word(v) for k, v in arguments.items() if k not in slots}
        real = called(values, node, rest | _chosen(given, lambda c: c.real))
        if not is_complex(node):
            return real  # copied into a real tensor
        parts: list[Complex] = []
        map_aggregate(given, parts.append)
        if all(p is None or p.imag is None for p in parts):
            return Complex(real)
        imag = called(values, node, rest | _chosen(given, lambda c: zeros(values, c)))
        return Complex(real, imag)

    return convert


def _parts(values: Values, argument: Any) -> Any:
    return None if argument is None else values.of(argument)


def _chosen(given: dict[str, Any], choose: Callable[[Complex], Part]) -> Any:
    return map_aggregate(given, lambda c: None if c is None else choose(c))


for _slots, _names in _LINEAR.items():
    for _name in _names.split():
        RULES[_name] = _linear(tuple(_slots.split()))


# -- making and taking apart ---------------------------------------------------------------


@RULES.rule("view_as_complex.default", "view_as_complex_copy.default")
def _view_as_complex(v: Values, self: torch.fx.Node) -> Complex:
    return v.unstacked(self)


@RULES.rule("view_as_real.default", "view_as_real_copy.default")
def _view_as_real(v: Values, self: Any) -> torch.fx.Node:
    return v.stack(v.of(self))


@RULES.rule("real.default")
def _real(v: Values, self: Any) -> Part:
    return v.of(self).real


@RULES.rule("imag.default")
def _imag(v: Values, self: Any) -> Part:
    return v.imag(v.of(self))


@RULES.rule("complex.default")
def _complex(v: Values, real: Part, imag: Part) -> Complex:
    return Complex(v.wide(real, imag), v.wide(imag, real))


@RULES.rule("polar.default")
def _polar(v: Values, length: Part, angle: Part) -> Complex:
    return v.turned(length, angle)


def _to_copy(v: Values, node: torch.fx.Node) -> Complex | torch.fx.Node:
    """Casts between real and complex; a cast to real drops the imaginary part, as in torch."""
    arguments = bound(node)
    value = v.of(arguments.pop("self"))
    words = {name: real_word(item) for name, item in arguments.items()}
    made = value.map(lambda part: called(v, node, {"self": part, **words}))
    return made if is_complex(node) else made.real


RULES["_to_copy.default"] = _to_copy


def _created(v: Values, node: torch.fx.Node) -> Complex | torch.fx.Node:
    """Tensors filled with one value; only the dtype or the fill value is complex."""
    arguments = {name: real_word(item) for name, item in bound(node).items()}
    if "self" in arguments:
        arguments["self"] = v.of(arguments["self"]).real
    fills = [n for n in ("fill_value", "s") if n in arguments]
    dtype = node.meta["val"].dtype
    arguments["dtype"] = dtype.to_real()
    if not fills:
        return Complex(called(v, node, arguments))
    fill = v.of(arguments[fills[0]])
    made = fill.map(lambda part: called(v, node, arguments | {fills[0]: part}))
    return made if dtype.is_complex else made.real


for _name in (
    "zeros.default", "ones.default", "full.default", "empty.memory_format", "zeros_like.default",
    "ones_like.default", "full_like.default", "empty_like.default", "new_zeros.default",
    "new_ones.default", "new_full.default", "new_empty.default", "scalar_tensor.default",
):  # fmt: skip
    RULES[_name] = _created


@RULES.rule("sym_size.int")
def _sym_size(v: Values, self: Any, dim: int) -> Part:
    return v.call(aten.sym_size.int, v.of(self).real, dim)


@RULES.rule("sym_numel.default")
def _sym_numel(v: Values, self: Any) -> Part:
    return v.call(aten.sym_numel.default, v.of(self).real)
