"""The form of forward's result, as it is read from a lowered program."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from compiler.lower import lower
from compiler.lower.capture import capture, structure
from compiler.trace.export import trace
from compiler.trace.outputs import named_leaves, structure_of
from enginebundle.format.spec import TensorSpec
from enginebundle.format.structure import Structure, Tree, leaves
from tests.compiler.small_models import profile


class Pair(NamedTuple):
    low: torch.Tensor
    high: torch.Tensor


@dataclass
class Scores:
    best: Any
    rest: Any = None


torch.export.register_dataclass(Scores, serialized_type_name="test_outputs.Scores")


class Returns(nn.Module):
    def __init__(self, make: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: torch.Tensor) -> Any:
        return self.make(x)


HF = "transformers.modeling_outputs.BaseModelOutput"
CASES: list[tuple[Callable[[torch.Tensor], Any], Tree]] = [
    (lambda x: x + 1, "output"),
    (lambda x: (x + 1,), Structure("tuple", ("output_0",))),
    (lambda x: [x + 1, (x + 2, None)],
     Structure("list", ("output_0", Structure("tuple", ("output_1_0", None))))),
    (lambda x: {"b": x + 1, "a": x + 2}, None),
    (lambda x: OrderedDict(b=x + 1, a=x + 2), None),
    (lambda x: {"b": [x + 1], "a": x + 2},
     Structure("dict", (Structure("list", ("b_0",)), "a"), ("b", "a"))),
    (lambda x: {1: x + 1, "1": x + 2}, Structure("dict", ("output_1", "output_1_1"), (1, "1"))),
    (lambda x: {"a": x + 1, "none": None}, Structure("dict", ("a", None), ("a", "none"))),
    (lambda x: {0.5: x + 1}, None),
    (lambda x: Pair(x + 1, x + 2),
     Structure("named_tuple", ("low", "high"), ("low", "high"), f"{__name__}.Pair")),
    (lambda x: Scores(x + 1, [x + 2]),
     Structure("dataclass", ("best", Structure("list", ("rest_0",))), ("best", "rest"), f"{__name__}.Scores")),
    (lambda x: BaseModelOutput(last_hidden_state=x + 1, attentions=(x + 2,)),
     Structure("dataclass", ("last_hidden_state", None, Structure("tuple", ("attentions_0",))),
               ("last_hidden_state", "hidden_states", "attentions"), HF)),
    (lambda x: torch.max(x, 1),
     Structure("named_tuple", ("output_0", "output_1"), ("values", "indices"), "torch.return_types.max")),
    (lambda x: (x + 1, x.shape[0]), Structure("tuple", ("output_0", "output_1"))),
    (lambda x: ((), {}, x + 1),
     Structure("tuple", (Structure("tuple", ()), Structure("dict", ()), "output_2"))),
]  # fmt: skip


@pytest.mark.parametrize(("make", "wanted"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_a_lowered_program_knows_the_form_of_its_result(
    make: Callable[[torch.Tensor], Any], wanted: Tree
) -> None:
    inputs = (TensorSpec("x", "float32", ("b", 3)),)
    lowered = lower(trace(Returns(make), inputs, (profile(b=(2, 3, 6)),)), frozenset())
    found = structure(lowered)
    assert found == wanted
    names = [spec.name for spec in capture(lowered, inputs).graph.outputs]
    assert found is None or list(leaves(found)) == names
    # What the model itself returns has the same form.
    result = make(torch.ones(2, 3))
    assert structure_of(result) == wanted
    assert [name for name, _ in named_leaves(result)] == names


def test_what_forward_writes_into_is_no_part_of_it() -> None:
    inputs = (TensorSpec("x", "float32", ("b", 3)),)
    module = Returns(lambda x: (x.add_(1) * 2,))
    lowered = lower(trace(module, inputs, (profile(b=(2, 3, 6)),)), frozenset())
    assert structure(lowered) == Structure("tuple", ("output_0",))
    assert [spec.name for spec in capture(lowered, inputs).graph.outputs] == ["output_0", "x_after"]
