"""Every core ATen overload is converted, decomposed into converted ones, or refused with a reason."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from compiler.convert.library import REGISTRY
from compiler.convert.registry import Refusal
from enginebundle.format.graph import Node, Value
from enginebundle.runtimes.torch_ops import ALLOWED
from tests.compiler.convert.core import core_overloads, core_states
from tests.compiler.convert.families import families
from tests.compiler.convert.whole import Call, check

aten = torch.ops.aten
STATES = core_states()
DECOMPOSED = sorted(op for op, state in STATES.items() if state.kind == "decomposed")
REFUSED = sorted(op for op, state in STATES.items() if state.kind == "refused")


def _statistics(n: int) -> tuple[torch.Tensor, ...]:
    x = torch.randn(n, 4, 5, 5)
    return torch.randn(n, 4, 5, 5), x, torch.randn(n, 2), torch.rand(n, 2) + 0.5


CALLS = {
    "aten._native_batch_norm_legit.default": Call(
        lambda x, w, b, m, v: aten._native_batch_norm_legit(
            x, w, b, m.clone(), v.clone(), False, 0.1, 1e-5
        )[0],
        lambda n: (torch.randn(n, 3, 4),), (torch.rand(3), torch.rand(3), torch.rand(3), torch.rand(3)),
    ),
    "aten._fft_c2r.default": Call(
        lambda x: aten._fft_c2r(torch.view_as_complex(x), [0, 1], 1, 7),
        lambda n: (torch.randn(n, 4, 6, 2),), atol=1e-4,
    ),
    "aten._fft_r2c.default": Call(
        lambda x: torch.view_as_real(aten._fft_r2c(x, [0, 1], 1, True)),
        lambda n: (torch.randn(n, 7, 6),), atol=1e-4,
    ),
    "aten.as_strided.default": Call(
        lambda x: (x.mT * 2)[1:].as_strided((3, x.shape[0]), (2, 3)), lambda n: (torch.randn(n, 6),)
    ),
    "aten.atan2.out": Call(
        lambda x, y: aten.atan2.out(x, y, out=torch.empty_like(x)),
        lambda n: (torch.randn(n, 3), torch.randn(n, 3)),
    ),
    "aten.embedding_dense_backward.default": Call(
        lambda g, i: aten.embedding_dense_backward(g, i, 9, 2, False),
        lambda n: (torch.randn(n, 4), torch.randint(9, (n,))),
    ),
    "aten.native_group_norm_backward.default": Call(
        lambda g, x, m, r, w: aten.native_group_norm_backward(
            g, x, m, r, w, x.shape[0], 4, 25, 2, [True, True, True]
        ),
        _statistics, (torch.rand(4),), atol=1e-4,
    ),
    "aten.native_layer_norm_backward.default": Call(
        lambda g, x, m, r: aten.native_layer_norm_backward(g, x, [4], m, r, None, None, [True, False, False])[0],
        lambda n: (torch.randn(n, 4), torch.randn(n, 4), torch.randn(n, 1), torch.rand(n, 1)),
    ),
    "aten.resize_.default": Call(
        lambda x: (x * 2).resize_(4, 3), lambda n: (torch.randn(3, 6),), static=True
    ),
    "aten.sym_is_contiguous.default": Call(
        lambda x: x.mT + int(aten.sym_is_contiguous(x.mT)), lambda n: (torch.randn(n, 6),)
    ),
    "aten.sym_storage_offset.default": Call(
        lambda x: x[1:, 1:] + aten.sym_storage_offset(x[1:, 1:]), lambda n: (torch.randn(n, n + 2),)
    ),
    "aten.sym_stride.int": Call(
        lambda x: x + aten.sym_stride.int(x.permute(2, 0, 1), 1), lambda n: (torch.randn(n, n + 1, n),)
    ),
}  # fmt: skip


WITHOUT_NUMBERS = {
    "aten.empty.memory_format", "aten.empty_strided.default", "aten.sym_numel.default", "aten.sym_size.int",
}  # fmt: skip
"""Uninitialised memory, which has no numbers to compare, and sizes, which test_sizes covers."""


def test_none_is_missing() -> None:
    assert len(core_overloads()) == len(STATES) > 180
    missing = [op for op, state in STATES.items() if state.kind == "missing"]
    assert missing == [], Counter(state.kind for state in STATES.values())


def test_converted_ones_are_compared_with_eager() -> None:
    """Each has a case in some family's table, which is run at several sizes and built."""
    cases = [case for table in families().values() for case in table]
    covered = {case.op for case in cases if case.refused is None}
    converted = {op for op, state in STATES.items() if state.kind == "converted"}
    assert converted - covered == WITHOUT_NUMBERS


@pytest.mark.parametrize("op", DECOMPOSED)
def test_decomposed_ones_end_in_converted_ones(op: str) -> None:
    """Exported and lowered for real; the network's numbers are eager torch's."""
    program = check(CALLS[op])
    assert op not in {node.op for node in program.graph.nodes}


@pytest.mark.parametrize("op", REFUSED)
def test_refused_ones_say_why(op: str) -> None:
    found = REGISTRY.find(Node(op, (), (), (Value("y", "float32"),)), {})
    assert isinstance(found, Refusal)
    assert found == STATES[op].refusal
    assert found.code in ("training", "random", "data_dependent")
    assert "expected" in found.detail
    assert op in found.detail
    assert found.remedy


def test_a_torch_segment_may_call_what_a_converter_is_for() -> None:
    """If a converter fails or an engine does not build, torch runs the node."""
    written_or_random = {"aten.detach_.default", "aten.rrelu.default"}
    ours = {op for op in REGISTRY.ops() if op.startswith("aten.")}
    assert ours - ALLOWED == written_or_random
