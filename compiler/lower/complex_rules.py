"""What each ATen overload does to complex values, written with real ones.

RULES["mul.Tensor"](values, node) -> Complex | node of a real result | None (not this call)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from compiler.lower.complex_values import Complex, Part, Values
from compiler.lower.fourier import c2c, c2r, r2c

aten = torch.ops.aten
map_aggregate: Any = torch.fx.node.map_aggregate
Rule = Callable[[Values, torch.fx.Node], Complex | torch.fx.Node | None]
RULES: dict[str, Rule] = {"_fft_c2c.default": c2c, "_fft_c2r.default": c2r, "_fft_r2c.default": r2c}


def is_complex(node: torch.fx.Node) -> bool:
    """Whether a node's value is complex, or a list of complex tensors."""
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(v, torch.Tensor) and v.dtype.is_complex for v in values)


def bound(node: torch.fx.Node) -> dict[str, Any]:
    """The node's arguments by the schema's names, with defaults."""
    schema = node.target._schema  # type: ignore[union-attr]
    names = [argument.name for argument in schema.arguments]
    defaults = {a.name: a.default_value for a in schema.arguments}
    return defaults | dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def rule(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function of (values, *arguments by position) for overloads."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            RULES[name] = lambda values, node: function(values, *bound(node).values())
        return function

    return register


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
"""Linear operators by the arguments that hold values."""


def _linear(slots: tuple[str, ...]) -> Rule:
    def convert(values: Values, node: torch.fx.Node) -> Complex | torch.fx.Node:
        arguments = bound(node)
        given = {
            name: map_aggregate(arguments[name], lambda a: _parts(values, a)) for name in slots
        }
        rest = {k: _real_word(v) for k, v in arguments.items() if k not in slots}
        real = _called(values, node, rest | _chosen(given, lambda c: c.real))
        if not is_complex(node):
            return real  # copied into a real tensor
        parts: list[Complex] = []
        map_aggregate(given, parts.append)
        if all(p is None or p.imag is None for p in parts):
            return Complex(real)
        imag = _called(values, node, rest | _chosen(given, lambda c: _zeros(values, c)))
        return Complex(real, imag)

    return convert


def _called(values: Values, node: torch.fx.Node, arguments: dict[str, Any]) -> torch.fx.Node:
    """The node's operator with other arguments, written as torch writes calls."""
    schema = node.target._schema  # type: ignore[union-attr]
    places = [a.name for a in schema.arguments if not a.kwarg_only]
    given = {a.name: arguments[a.name] for a in schema.arguments}
    defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    while places and places[-1] in defaults and given[places[-1]] == defaults[places[-1]]:
        places.pop()
    words = {
        a.name: given[a.name]
        for a in schema.arguments
        if a.kwarg_only and given[a.name] != a.default_value
    }
    made: torch.fx.Node = values.call(node.target, *(given[name] for name in places), **words)
    return made


def _parts(values: Values, argument: Any) -> Any:
    return None if argument is None else values.of(argument)


def _chosen(given: dict[str, Any], choose: Callable[[Complex], Part]) -> Any:
    return map_aggregate(given, lambda c: None if c is None else choose(c))


def _zeros(values: Values, value: Complex) -> Part:
    """The imaginary part as an argument of its own."""
    if value.imag is not None or isinstance(value.real, torch.fx.Node):
        return values.imag(value)
    return 0


def _real_word(argument: Any) -> Any:
    """A complex dtype's real one."""
    is_word = isinstance(argument, torch.dtype) and argument.is_complex
    return argument.to_real() if is_word else argument


for _slots, _names in _LINEAR.items():
    for _name in _names.split():
        RULES[_name] = _linear(tuple(_slots.split()))


# -- making and taking apart ---------------------------------------------------------------


@rule("view_as_complex.default", "view_as_complex_copy.default")
def _view_as_complex(v: Values, self: torch.fx.Node) -> Complex:
    return v.unstacked(self)


@rule("view_as_real.default", "view_as_real_copy.default")
def _view_as_real(v: Values, self: Any) -> torch.fx.Node:
    return v.stack(v.of(self))


@rule("real.default")
def _real(v: Values, self: Any) -> Part:
    return v.of(self).real


@rule("imag.default")
def _imag(v: Values, self: Any) -> Part:
    return v.imag(v.of(self))


@rule("complex.default")
def _complex(v: Values, real: Part, imag: Part) -> Complex:
    return Complex(v.wide(real, imag), v.wide(imag, real))


@rule("polar.default")
def _polar(v: Values, length: Part, angle: Part) -> Complex:
    return v.turned(length, angle)


def _to_copy(v: Values, node: torch.fx.Node) -> Complex | torch.fx.Node:
    """Between real and complex; to real drops the imaginary part, as torch does with a warning."""
    arguments = bound(node)
    value = v.of(arguments.pop("self"))
    words = {name: _real_word(item) for name, item in arguments.items()}
    made = value.map(lambda part: _called(v, node, {"self": part, **words}))
    return made if is_complex(node) else made.real


RULES["_to_copy.default"] = _to_copy


def _created(v: Values, node: torch.fx.Node) -> Complex | torch.fx.Node:
    """Tensors of one value; only the dtype or the fill value is complex."""
    arguments = {name: _real_word(item) for name, item in bound(node).items()}
    if "self" in arguments:
        arguments["self"] = v.of(arguments["self"]).real
    fills = [n for n in ("fill_value", "s") if n in arguments]
    dtype = node.meta["val"].dtype
    arguments["dtype"] = dtype.to_real()
    if not fills:
        return Complex(_called(v, node, arguments))
    fill = v.of(arguments[fills[0]])
    made = fill.map(lambda part: _called(v, node, arguments | {fills[0]: part}))
    return made if dtype.is_complex else made.real


for _name in (
    "zeros.default", "ones.default", "full.default", "empty.memory_format", "zeros_like.default",
    "ones_like.default", "full_like.default", "empty_like.default", "new_zeros.default",
    "new_ones.default", "new_full.default", "new_empty.default", "scalar_tensor.default",
):  # fmt: skip
    RULES[_name] = _created


@rule("sym_size.int")
def _sym_size(v: Values, self: Any, dim: int) -> Part:
    return v.call(aten.sym_size.int, v.of(self).real, dim)


@rule("sym_numel.default")
def _sym_numel(v: Values, self: Any) -> Part:
    return v.call(aten.sym_numel.default, v.of(self).real)


# -- arithmetic ----------------------------------------------------------------------------


@rule("_conj.default", "_conj_physical.default", "conj.default", "conj_physical.default")
def _conj(v: Values, self: Any) -> Complex:
    value = v.of(self)
    return Complex(value.real, v.neg(value.imag))


@rule("adjoint.default", "mH.default")
def _adjoint(v: Values, self: Any) -> Complex:
    value: Complex = _conj(v, self)
    return value.map(lambda part: v.call(aten.transpose.int, part, -2, -1))


def _sum(v: Values, a: Complex, b: Complex) -> Complex:
    imag = v.add(a.imag, b.imag)
    if imag is not None and (a.imag is None or b.imag is None):
        imag = v.wide(imag, a.real, b.real)
    return Complex(v.add(a.real, b.real), imag)


@rule("add.Tensor", "add.Scalar")
def _add(v: Values, self: Any, other: Any, alpha: Any) -> Complex:
    return _sum(v, v.of(self), _scaled(v, v.of(other), alpha))


@rule("sub.Tensor", "sub.Scalar")
def _sub(v: Values, self: Any, other: Any, alpha: Any) -> Complex:
    return _sum(v, v.of(self), _scaled(v, v.of(other), -alpha))


@rule("rsub.Tensor", "rsub.Scalar")
def _rsub(v: Values, self: Any, other: Any, alpha: Any) -> Complex:
    return _sum(v, v.of(other), _scaled(v, v.of(self), -alpha))


def _scaled(v: Values, value: Complex, factor: Any) -> Complex:
    if factor == -1:
        return value.map(v.neg)
    return value if factor == 1 else v.product(value, v.of(factor), v.mul)


@rule("mul.Tensor", "mul.Scalar")
def _mul(v: Values, self: Any, other: Any) -> Complex:
    return v.product(v.of(self), v.of(other), v.mul)


@rule("div.Tensor", "div.Scalar")
def _div(v: Values, self: Any, other: Any) -> Complex:
    return _quotient(v, v.of(self), v.of(other))


@rule("reciprocal.default")
def _reciprocal(v: Values, self: Any) -> Complex:
    return _quotient(v, Complex(1.0), v.of(self))


def _quotient(v: Values, a: Complex, b: Complex) -> Complex:
    """a / b; both parts of b divided by the larger first, so that squares stay in range."""
    if b.imag is None:
        return a.map(lambda part: v.div(part, b.real))
    if not isinstance(b.imag, torch.fx.Node):
        inverse = 1 / complex(b.real, b.imag)
        return v.product(a, Complex(inverse.real, inverse.imag), v.mul)
    sizes = [v.call(aten.abs.default, part) for part in (b.real, b.imag)]
    size = v.call(aten.maximum.default, *sizes)
    small = b.map(lambda part: v.div(part, size))
    square = v.add(v.mul(b.real, small.real), v.mul(b.imag, small.imag))
    above = v.product(a, Complex(small.real, v.neg(small.imag)), v.mul)
    return above.map(lambda part: v.div(part, square))


@rule("abs.default")
def _abs(v: Values, self: Any) -> Part:
    return v.length(v.of(self))


@rule("angle.default")
def _angle(v: Values, self: Any) -> Part:
    return v.angle(v.of(self))


@rule("sgn.default")
def _sgn(v: Values, self: Any) -> Complex:
    """z / |z|, and 0 for 0."""
    value = v.of(self)
    length = v.length(value)
    zero = v.call(aten.eq.Scalar, length, 0)
    length = v.call(aten.masked_fill.Scalar, length, zero, 1)
    return value.map(lambda part: v.div(part, length))


# -- powers and functions ------------------------------------------------------------------


def _exponential(v: Values, value: Complex) -> Complex:
    return v.turned(v.call(aten.exp.default, value.real), value.imag)


def _logarithm(v: Values, value: Complex) -> Complex:
    return Complex(v.call(aten.log.default, v.length(value)), v.angle(value))


@rule("exp.default")
def _exp(v: Values, self: Any) -> Complex:
    return _exponential(v, v.of(self))


@rule("log.default")
def _log(v: Values, self: Any) -> Complex:
    return _logarithm(v, v.of(self))


@rule("sqrt.default")
def _sqrt(v: Values, self: Any) -> Complex:
    value = v.of(self)
    return v.turned(v.call(aten.sqrt.default, v.length(value)), v.mul(v.angle(value), 0.5))


@rule("pow.Tensor_Scalar")
def _pow(v: Values, self: Any, exponent: Any) -> Complex | None:
    """Whole powers up to 8 by products; others by length and angle, undefined at 0."""
    value = v.of(self)
    if exponent in range(1, 9):
        return functools.reduce(lambda a, b: v.product(a, b, v.mul), [value] * int(exponent))
    if isinstance(exponent, complex) or exponent <= 0:
        return None
    length = v.call(aten.pow.Tensor_Scalar, v.length(value), exponent)
    return v.turned(length, v.mul(v.angle(value), exponent))


def _circular(
    name: str, signs: tuple[int, int], real: tuple[Any, Any], imag: tuple[Any, Any]
) -> None:
    """sin, cos, sinh and cosh by the addition theorem: each part a product of two functions."""

    @rule(name)
    def convert(v: Values, self: Any) -> Complex:
        value = v.of(self)
        x, y = value.real, v.imag(value)
        parts = [v.mul(v.call(f, x), v.call(g, y)) for f, g in (real, imag)]
        return Complex(
            *(part if sign > 0 else v.neg(part) for part, sign in zip(parts, signs, strict=True))
        )


_SIN, _COS = aten.sin.default, aten.cos.default
_SINH, _COSH = aten.sinh.default, aten.cosh.default
_circular("sin.default", (1, 1), (_SIN, _COSH), (_COS, _SINH))
_circular("cos.default", (1, -1), (_COS, _COSH), (_SIN, _SINH))
_circular("sinh.default", (1, 1), (_SINH, _COS), (_COSH, _SIN))
_circular("cosh.default", (1, 1), (_COSH, _COS), (_SINH, _SIN))


# -- comparisons and tests -----------------------------------------------------------------


@rule("eq.Tensor", "eq.Scalar")
def _eq(v: Values, self: Any, other: Any) -> Part:
    return _compared(v, self, other, aten.eq, aten.logical_and.default)


@rule("ne.Tensor", "ne.Scalar")
def _ne(v: Values, self: Any, other: Any) -> Part:
    return _compared(v, self, other, aten.ne, aten.logical_or.default)


def _compared(v: Values, self: Any, other: Any, op: Any, join: Any) -> Part:
    a, b = v.of(self), v.of(other)
    found = []
    for x, y in ((a.real, b.real), (_zeros(v, a), _zeros(v, b))):
        found.append(v.call(op.Tensor if isinstance(y, torch.fx.Node) else op.Scalar, x, y))
    return v.call(join, *found)


def _tested(name: str, join: Any) -> None:
    op = getattr(aten, name).default

    @rule(f"{name}.default")
    def convert(v: Values, self: Any) -> Part:
        value = v.of(self)
        return v.call(join, v.call(op, value.real), v.call(op, v.imag(value)))


_tested("isnan", aten.logical_or.default)
_tested("isinf", aten.logical_or.default)
_tested("isfinite", aten.logical_and.default)


# -- products ------------------------------------------------------------------------------


def _bilinear(name: str) -> None:
    op = functools.reduce(getattr, name.split("."), aten)

    @rule(name)
    def convert(v: Values, a: Any, b: Any) -> Complex:
        return v.product(v.of(a), v.of(b), lambda x, y: v.call(op, x, y))


for _name in (
    "mm.default", "bmm.default", "matmul.default", "linalg_matmul.default", "mv.default",
    "dot.default", "outer.default", "inner.default",
):  # fmt: skip
    _bilinear(_name)


@rule("vdot.default")
def _vdot(v: Values, self: Any, other: Any) -> Complex:
    return v.product(_conj(v, self), v.of(other), lambda x, y: v.call(aten.dot.default, x, y))


@rule("linear.default")
def _linear_layer(v: Values, x: Any, weight: Any, bias: Any) -> Complex:
    made = v.product(v.of(x), v.of(weight), lambda x, y: v.call(aten.linear.default, x, y))
    return made if bias is None else _sum(v, made, v.of(bias))


@rule("addmm.default", "baddbmm.default")
def _addmm(v: Values, self: Any, a: Any, b: Any, beta: Any, alpha: Any) -> Complex:
    made = v.product(v.of(a), v.of(b), lambda x, y: v.call(aten.matmul.default, x, y))
    return _sum(v, _scaled(v, made, alpha), _scaled(v, v.of(self), beta))


@rule("einsum.default")
def _einsum(v: Values, equation: str, tensors: Any, path: Any) -> Complex | None:
    """Of one or two tensors."""
    parts = [v.of(tensor) for tensor in tensors]
    if len(parts) == 1:
        return parts[0].map(lambda x: v.call(aten.einsum.default, equation, [x]))
    if len(parts) != 2:
        return None
    return v.product(parts[0], parts[1], lambda x, y: v.call(aten.einsum.default, equation, [x, y]))


# -- norms ---------------------------------------------------------------------------------


@rule("linalg_vector_norm.default")
def _vector_norm(v: Values, x: Any, order: Any, dim: Any, keepdim: bool, dtype: Any) -> Part:
    words = {} if dtype is None else {"dtype": _real_word(dtype)}
    return v.call(aten.linalg_vector_norm.default, v.length(v.of(x)), order, dim, keepdim, **words)
