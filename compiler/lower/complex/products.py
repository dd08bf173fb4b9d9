"""Products and norms of complex matrices, in real arithmetic."""

from __future__ import annotations

import functools
from typing import Any

import torch

from compiler.lower.complex.math import conj, scaled, total
from compiler.lower.complex.table import Rules, real_word
from compiler.lower.complex.values import Complex, Part, Values

aten = torch.ops.aten
RULES = Rules()


# -- products ------------------------------------------------------------------------------


def _bilinear(name: str) -> None:
    op = functools.reduce(getattr, name.split("."), aten)

    @RULES.rule(name)
    def convert(v: Values, a: Any, b: Any) -> Complex:
        return v.product(v.of(a), v.of(b), lambda x, y: v.call(op, x, y))


for _name in (
    "mm.default", "bmm.default", "matmul.default", "linalg_matmul.default", "mv.default",
    "dot.default", "outer.default", "inner.default",
):  # fmt: skip
    _bilinear(_name)


@RULES.rule("vdot.default")
def _vdot(v: Values, self: Any, other: Any) -> Complex:
    return v.product(conj(v, self), v.of(other), lambda x, y: v.call(aten.dot.default, x, y))


@RULES.rule("linear.default")
def _linear_layer(v: Values, x: Any, weight: Any, bias: Any) -> Complex:
    made = v.product(v.of(x), v.of(weight), lambda x, y: v.call(aten.linear.default, x, y))
    return made if bias is None else total(v, made, v.of(bias))


@RULES.rule("addmm.default", "baddbmm.default")
def _addmm(v: Values, self: Any, a: Any, b: Any, beta: Any, alpha: Any) -> Complex:
    made = v.product(v.of(a), v.of(b), lambda x, y: v.call(aten.matmul.default, x, y))
    return total(v, scaled(v, made, alpha), scaled(v, v.of(self), beta))


@RULES.rule("einsum.default")
def _einsum(v: Values, equation: str, tensors: Any, path: Any) -> Complex | None:
    """Only with one or two tensors."""
    parts = [v.of(tensor) for tensor in tensors]
    if len(parts) == 1:
        return parts[0].map(lambda x: v.call(aten.einsum.default, equation, [x]))
    if len(parts) != 2:
        return None
    return v.product(parts[0], parts[1], lambda x, y: v.call(aten.einsum.default, equation, [x, y]))


# -- norms ---------------------------------------------------------------------------------


@RULES.rule("linalg_vector_norm.default")
def _vector_norm(v: Values, x: Any, order: Any, dim: Any, keepdim: bool, dtype: Any) -> Part:
    words = {} if dtype is None else {"dtype": real_word(dtype)}
    return v.call(aten.linalg_vector_norm.default, v.length(v.of(x)), order, dim, keepdim, **words)
