"""What becomes of each core ATen overload: converted, decomposed, or refused with a reason.

    core_states() -> {"aten.add.Tensor": State("converted"), ...}

"Core" is torch's own tag (`torch.Tag.core`), a set that exporters and compilers agree on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from compiler.convert.library import REGISTRY
from compiler.convert.refusals import STATED
from compiler.convert.registry import Refusal
from compiler.lower import decomposed_ops

FUNCTIONAL = {
    "aten.atan2.out": "aten.atan2.default",
    "aten.resize_.default": "aten.as_strided.default",
    "aten._native_batch_norm_legit.default": "aten._native_batch_norm_legit_functional.default",
}
"""Core overloads that write into an argument, and their functional forms."""

REWRITTEN = {
    "aten.as_strided.default": "resolve_strides",
    "aten.sym_stride.int": "resolve_strides",
    "aten.sym_storage_offset.default": "resolve_strides",
    "aten._fft_r2c.default": "complex_pairs",
    "aten._fft_c2r.default": "complex_pairs",
}
"""Core overloads that the named lowering pass rewrites with converted ones."""


@dataclass(frozen=True, slots=True)
class State:
    """What becomes of an overload.

    `converted`: a row of the registry. `decomposed`: lowering rewrites it with converted ones.
    `refused`: stays in torch because of `refusal`. `missing`: none of these; there must be none.
    """

    kind: Literal["converted", "decomposed", "refused", "missing"]
    detail: str = ""
    """How, in a few words, if `kind` alone does not say."""
    refusal: Refusal | None = None


def core_overloads() -> tuple[str, ...]:
    """Every overload of torch.ops.aten tagged `core`, such as "aten.add.Tensor", sorted."""
    found = []
    for name in torch._C._dispatch_get_all_op_names():
        namespace, _, rest = name.partition("::")
        packet, _, overload = rest.partition(".")
        if namespace == "aten" and hasattr(torch.ops.aten, packet):
            op = getattr(getattr(torch.ops.aten, packet), overload or "default", None)
            if op is not None and torch.Tag.core in op.tags:
                found.append(str(op))
    return tuple(sorted(found))


def core_states() -> dict[str, State]:
    """The state of every core overload, in `core_overloads` order."""
    rules = decomposed_ops(REGISTRY.ops())
    return {op: _state(op, rules) for op in core_overloads()}


def _state(op: str, rules: frozenset[str]) -> State:
    if op in REWRITTEN:
        return State("decomposed", f"by the pass {REWRITTEN[op]}")
    if op in REGISTRY.ops():
        return State("converted")
    if op in FUNCTIONAL:
        return State("decomposed", f"functional form {FUNCTIONAL[op]}")
    if op in STATED:
        return State("refused", STATED[op].code, STATED[op])
    return State("decomposed", "by torch's rule") if op in rules else State("missing")
