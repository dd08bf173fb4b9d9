"""Programs that are lowered without torch's decomposition, and those that must not be."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from compiler.convert.library import REGISTRY
from compiler.lower import lower
from compiler.lower.graphs import graph_digest
from compiler.lower.undecomposed import without_decomposition
from compiler.trace.export import trace
from enginebundle.format.spec import Profile, Range, TensorSpec

SPEC = (TensorSpec("x", "float32", ("b", 4)),)
KEEP = REGISTRY.ops()


def exported(function: object) -> ExportedProgram:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> object:
            return function(x)  # type: ignore[operator]

    return trace(Model().eval(), SPEC, (Profile("p", (("b", Range(1, 2, 4)),)),))


def chain(x: torch.Tensor) -> torch.Tensor:
    y = nn.functional.linear(x, torch.ones(4, 4))
    y.add_(x).relu_()
    y *= 2
    return nn.functional.dropout(y, training=False) + y


def write_under_a_view(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    first = y[:, 0]
    y.relu_()
    return first + y[:, 1]


def write_through_a_view(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    y[:, 0].relu_()
    return y


def write_to_what_dropout_returned(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    z = nn.functional.dropout(y, training=False)
    z.relu_()
    return y + z


def write_of_another_dtype(x: torch.Tensor) -> torch.Tensor:
    y = (x * 2).half()
    y.add_(x)
    return y


def write_to_a_constant(x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros(4)
    y.add_(1)
    return x + y


X = torch.tensor([[-1.0, 2.0, -3.0, 4.0], [5.0, -6.0, 7.0, -8.0]])


def test_in_place_calls_on_fresh_tensors_need_no_decomposition() -> None:
    program = exported(chain)
    before = graph_digest(program)
    spared = without_decomposition(program, KEEP)
    assert spared is not None
    assert not any(
        node.target._schema.is_mutable
        for node in spared.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload)
    )
    assert torch.equal(lower(program, KEEP).module()(x=X), chain(X.clone()))
    assert graph_digest(program) == before
    assert graph_digest(spared) != before


@pytest.mark.parametrize(
    "function",
    [write_under_a_view, write_through_a_view, write_of_another_dtype],
)
def test_writes_that_something_else_sees_are_decomposed(function: object) -> None:
    program = exported(function)
    assert without_decomposition(program, KEEP) is None
    got = lower(program, KEEP).module()(x=X)
    want = function(X.clone())  # type: ignore[operator]
    assert got.dtype == want.dtype
    assert torch.equal(got, want)


def test_dropout_in_eval_mode_returns_its_argument() -> None:
    assert without_decomposition(exported(write_to_what_dropout_returned), KEEP) is None


def test_a_fresh_constant_may_be_written() -> None:
    program = exported(write_to_a_constant)
    assert torch.equal(lower(program, KEEP).module()(x=X), X + 1)


def test_an_operator_outside_keep_is_decomposed() -> None:
    program = exported(lambda x: nn.functional.gelu(x))
    assert without_decomposition(program, KEEP) is not None
    assert without_decomposition(program, KEEP - {"aten.gelu.default"}) is None
