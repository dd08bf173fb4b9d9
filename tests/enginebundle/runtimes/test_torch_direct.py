"""Torch's own functions in place of its operators: the same results, and nothing that the operator would not take."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from enginebundle.errors import RuntimeFailure
from enginebundle.format.graph import Ref
from enginebundle.runtimes.torch_checks import CHECKS
from enginebundle.runtimes.torch_direct import direct, functions
from enginebundle.runtimes.torch_graph import TorchGraph
from enginebundle.runtimes.torch_ops import ALLOWED, UNINITIALIZED
from tests.enginebundle.calls import call

X, Y = torch.rand(2, 3) + 0.5, torch.rand(2, 3) + 0.5
IMAGE = torch.randn(2, 4, 6, 6)
ROWS, COLUMN, CHANNELS = torch.randn(5, 3), torch.randn(5), torch.rand(4) + 0.5
CALLS: dict[str, list[tuple[Any, ...]]] = {
    "add.Tensor": [(X, Y), (X, 2.5)],
    "addmm.default": [(torch.randn(5), X, torch.randn(3, 5))],
    "adaptive_avg_pool2d.default": [(IMAGE, [2, 3])],
    "avg_pool2d.default": [(IMAGE, [2, 2], [1, 2], [1, 0], True, False, 3)],
    "bmm.default": [(torch.randn(2, 3, 4), torch.randn(2, 4, 5))],
    "cat.default": [([X, Y], 1), ([X, Y],)],
    "clamp.default": [(X, 0.7, 1.2), (X, None, 1.0)],
    "conv1d.default": [(torch.randn(1, 4, 9), torch.randn(6, 2, 3), None, [2], [1], [2], 2)],
    "conv2d.default": [(IMAGE, torch.randn(6, 2, 3, 3), torch.randn(6), [2, 1], [1, 0], [1, 2], 2)],
    "contiguous.default": [(X.T,)],
    "cumsum.default": [(X, 1)],
    "div.Tensor": [(X, Y), (X, 3)],
    "embedding.default": [(ROWS, torch.tensor([0, 4, 2]), 1, False, False)],
    "expand.default": [(X[:, None], [2, 4, 3]), (X[:, None], [-1, 4, -1])],
    "flatten.using_ints": [(IMAGE, 1, 2), (IMAGE,)],
    "group_norm.default": [(IMAGE, 2, CHANNELS, CHANNELS, 1e-3, True)],
    "hardtanh.default": [(X, 0.6, 0.9)],
    "layer_norm.default": [(X, [3], X[0], Y[0], 1e-3), (X, [3])],
    "linear.default": [(X, ROWS, COLUMN), (X, ROWS)],
    "masked_fill.Scalar": [(X, X > 1, -1.5)],
    "matmul.default": [(X, ROWS.T)],
    "max_pool2d.default": [(IMAGE, [3, 2], [2, 1], [1, 0], [1, 2], True)],
    "mean.dim": [(X, [1], True), (X, [0, 1])],
    "mm.default": [(X, ROWS.T)],
    "permute.default": [(IMAGE, [0, 2, 3, 1])],
    "pow.Tensor_Scalar": [(X, 2), (X, 0.5)],
    "reshape.default": [(IMAGE, [2, -1])],
    "select.int": [(IMAGE, 1, -1)],
    "softmax.int": [(X, -1), (X, 0, torch.float64)],
    "squeeze.dim": [(X[:, None], 1), (X, 1)],
    "stack.default": [([X, Y], 2)],
    "sum.dim_IntList": [(X, [1], True), (X, None)],
    "transpose.int": [(IMAGE, 1, -1)],
    "unsqueeze.default": [(X, -1)],
    "view.default": [(X, [3, 2]), (X, [-1])],
    "where.self": [(X > 1, X, Y)],
}
"""Those that take one tensor, or two as `eq` does, are called so."""


def arguments(op: str) -> list[tuple[Any, ...]]:
    short = op.removeprefix("aten.")
    if short in CALLS:
        return CALLS[short]
    _, _, overload = short.partition(".")
    return [{"Tensor": (X, Y), "Scalar": (X, 1.0), "default": (X,)}.get(overload, (X, Y))]


def test_they_are_among_the_reviewed() -> None:
    assert functions().keys() <= ALLOWED
    assert not functions().keys() & (UNINITIALIZED | CHECKS.keys())
    assert {f"aten.{name}" for name in CALLS} <= functions().keys()


@pytest.mark.parametrize("op", sorted(functions()))
def test_the_same_bits(op: str) -> None:
    _, packet, overload = op.split(".")
    operator = getattr(getattr(torch.ops.aten, packet), overload)
    for given in arguments(op):
        want, got = operator(*given), functions()[op](*given)
        assert torch.equal(got, want)
        assert (got.dtype, got.stride()) == (want.dtype, want.stride())


@pytest.mark.parametrize(
    ("op", "args", "kwargs"),
    [
        ("aten.add.Tensor", (Ref("x"), Ref("x")), {"out": Ref("w")}),
        ("aten.mul.Tensor", (Ref("x"),), {"other": Ref("x"), "out": Ref("w")}),
        ("aten.relu.default", (), {"input": Ref("x")}),
        ("aten.add.Tensor", (Ref("x"), 2, Ref("x")), {}),
        ("aten.sum.dim_IntList", (Ref("x"), (0,), True), {"out": Ref("w")}),
    ],
)
def test_what_only_the_function_takes_is_refused(op: str, args: Any, kwargs: Any) -> None:
    """`out` would let a bundle write into a weight, or into its caller's tensor."""
    x, w = torch.ones(2, 2), torch.zeros(2, 2)
    graph = call(op, *args, given={"x": x, "w": w}, made=[x], **kwargs)
    with pytest.raises(RuntimeFailure, match="failed"):
        TorchGraph(graph, {})({"x": x, "w": w})
    assert not w.any()


def test_the_operator_where_a_name_is_not_its_own() -> None:
    (node,) = call("aten.relu.default", Ref("x"), given={"x": X}, made=[X]).nodes
    assert direct(node, torch.ops.aten.relu.default) is torch.relu
