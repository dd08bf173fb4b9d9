"""A mask that hides nothing is none, where that is known while compiling; any other is applied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from compiler.build.networks import BuildRequest, convert_program
from compiler.convert.interpret import convert
from compiler.convert.library import REGISTRY
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.network.evaluate import evaluate
from compiler.trace.export import trace
from enginebundle.format.spec import Target, TensorSpec
from tests.compiler.convert.whole import Call, check
from tests.compiler.small_models import profile

Make = Callable[[torch.Tensor], torch.Tensor]


class Attends(nn.Module):
    """x [b, s, 8] attends to itself with two heads, under the mask that `make(x)` gives."""

    def __init__(self, make: Make) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: torch.Tensor) -> Any:
        q = x.view(x.shape[0], x.shape[1], 2, 4).transpose(1, 2)
        return {"y": functional.scaled_dot_product_attention(q, q, q, attn_mask=self.make(x))}


class Kept(Attends):
    """The mask is a buffer, which another checkpoint may have otherwise if it is of floats."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__(lambda x: self.value[: x.shape[1], : x.shape[1]])
        self.register_buffer("value", value)


def ones(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(x.shape[1], x.shape[1], dtype=torch.bool)


def for_each(x: torch.Tensor) -> torch.Tensor:
    """As Hugging Face's models make it."""
    s = x.shape[1]
    return torch.ones(1, 1, 1, s, dtype=torch.bool).expand(x.shape[0], 1, s, s)


def turned(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(x.shape[1], 1, dtype=torch.bool).T.expand(x.shape[1], -1)


def zeros(x: torch.Tensor) -> torch.Tensor:
    return torch.zeros(x.shape[0], 1, x.shape[1], x.shape[1])


def one_hidden(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(5, 5, dtype=torch.bool).index_fill(1, torch.tensor([2]), False)


def one_added(x: torch.Tensor) -> torch.Tensor:
    return torch.zeros(5, 5).index_fill(1, torch.tensor([2]), 0.5)


def not_a_number(x: torch.Tensor) -> torch.Tensor:
    return torch.full((5, 5), torch.nan)


def of_the_input(x: torch.Tensor) -> torch.Tensor:
    return (x[:, None, None, :, 0] > -100.0).expand(-1, 1, x.shape[1], -1)


def masks(model: nn.Module, fixed: bool) -> list[bool]:
    """Whether each attention reads a mask; checks the numbers on the way."""
    sizes = {"b": (1, 2, 3), "s": (5, 5, 5) if fixed else (1, 5, 7)}
    inputs = (TensorSpec("x", "float32", ("b", 5 if fixed else "s", 8)),)
    profiles = (profile(b=sizes["b"]) if fixed else profile(**sizes),)
    program = capture(lower(trace(model.eval(), inputs, profiles), REGISTRY.ops()), inputs)
    request = BuildRequest(Target.parse("rtx:sm_89"), profiles, require_full_compilation=True)
    (network,) = convert_program(program, request).networks
    assert network is not None
    for b, s in ((1, 5), (3, 5)) if fixed else ((1, 1), (2, 5), (3, 7)):
        x = torch.randn(b, s, 8)
        with torch.no_grad():
            (found,) = evaluate(network, {"x": x}).values()
            torch.testing.assert_close(found, model(x)["y"], equal_nan=True)
    return [
        layer.inputs[3] is not None for layer in network.layers if layer.row.name == "attention"
    ]


@pytest.mark.parametrize("make", [ones, for_each, turned, zeros])
@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "dynamic"])
def test_a_mask_that_hides_nothing_is_left_out(make: Make, fixed: bool) -> None:
    assert masks(Attends(make), fixed) == [False]


@pytest.mark.parametrize("make", [one_hidden, one_added, not_a_number, of_the_input])
def test_any_other_mask_is_applied(make: Make) -> None:
    assert masks(Attends(make), True) == [True]


def test_a_mask_among_the_weights_is_applied() -> None:
    assert masks(Kept(torch.zeros(7, 7)), False) == [True]


def test_one_of_bools_can_not_be_replaced_by_other_weights() -> None:
    assert masks(Kept(torch.ones(7, 7, dtype=torch.bool)), False) == [False]


# -- masks combined with others --------------------------------------------------------------------


def ones_of(*shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.bool)


def hole(*shape: int) -> torch.Tensor:
    found = ones_of(*shape)
    found[..., -1] = False
    return found


NEUTRAL: dict[str, Make] = {
    "and": lambda m: m & ones_of(1, 1, 5, 1),
    "and, the other way": lambda m: ones_of(5) & m,
    "logical_and": lambda m: torch.logical_and(m, ones_of(4, 1, 5)),
    "or": lambda m: m | ~ones_of(4, 1, 1),
    "xor": lambda m: m ^ ~ones_of(1, 1),
    "and with a number": lambda m: m & True,
}
NOT_NEUTRAL: dict[str, Make] = {
    "a hole": lambda m: m & hole(1, 1, 1, 5),
    "or with ones": lambda m: m | ones_of(5),
    "xor with ones": lambda m: m ^ ones_of(5),
    "and with another": lambda m: m & m.flip(0),
    "more dimensions": lambda m: m & ones_of(2, 1, 1, 1, 1),
}


@pytest.mark.parametrize("name", [*NEUTRAL, *NOT_NEUTRAL])
def test_what_a_constant_leaves_as_it_is_needs_no_layer(name: str) -> None:
    combine = (NEUTRAL | NOT_NEUTRAL)[name]
    program = check(Call(combine, lambda n: (torch.arange(n * 5).view(n, 1, 1, 5) % 3 > 0,)))
    network = convert(program.graph, program.weights, REGISTRY)
    kinds = {layer.row.name for layer in network.layers}
    assert ("elementwise" in kinds) == (name in NOT_NEUTRAL)
