"""A constant has no copies for an axis that the other operand of a sum has as well."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compiler.build.networks import BuildRequest
from compiler.convert.net import Net
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.network.copies import without_copies
from compiler.network.evaluate import evaluate
from compiler.network.network import Network
from compiler.pipeline import convert_program
from compiler.trace.export import trace
from enginebundle.format.spec import Target, TensorSpec


class Added(nn.Module):
    """Something that is the same for each of a static batch, beside what is not."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.queries = nn.Parameter(torch.randn(7, 4))
        self.ones = nn.Parameter(torch.ones(7, 4))
        self.lift = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.shape[0]
        if self.kind == "expanded":
            return x + self.queries.expand(rows, -1, -1)
        if self.kind == "repeated":
            return x * self.queries.unsqueeze(0).repeat(rows, 1, 1)
        if self.kind == "computed from":
            return self.lift(self.queries.expand(rows, -1, -1)).relu() - x
        if self.kind == "positions":
            place = torch.arange(7.0)[None].expand(rows, 7)
            return x + torch.sin(place)[..., None]
        if self.kind == "two of them":
            both = self.queries.expand(rows, -1, -1) + self.ones.expand(rows, -1, -1)
            return x + both
        if self.kind == "differ":
            return x + torch.arange(3.0)[:, None, None] * self.queries
        assert self.kind == "a weight"
        return x + self.ones


def network_of(kind: str) -> tuple[nn.Module, Network]:
    inputs = (TensorSpec("x", "float32", (3, 7, 4)),)
    model = Added(kind).eval()
    program = capture(lower(trace(model, inputs, ())), inputs)
    request = BuildRequest(Target("rtx", ("sm_89",)), (), require_full_compilation=True)
    (network,) = convert_program(program, request).networks
    assert network is not None
    return model, network


def constants(network: Network) -> list[tuple[int | None, ...]]:
    """The shapes of constants that elementwise layers read beside a tensor that is none."""
    return [
        t.shape
        for layer in network.layers
        if layer.kind == "elementwise"
        for t in layer.inputs
        if t is not None and t.constant is not None
    ]


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("expanded", (1, 7, 4)), ("repeated", (1, 7, 4)), ("computed from", (1, 7, 4)),
        ("positions", (1, 7, 1)), ("two of them", (1, 7, 4)), ("differ", (3, 7, 4)),
        ("a weight", (1, 7, 4)),
    ],
)  # fmt: skip
def test_a_batch_of_one(kind: str, shape: tuple[int, ...]) -> None:
    model, network = network_of(kind)
    network = without_copies(network)
    assert constants(network)[-1] == shape
    feeds = {"x": torch.randn(3, 7, 4)}
    (found,) = evaluate(network, feeds).values()
    torch.testing.assert_close(found, model(**feeds))


def added(
    value: torch.Tensor, shape: tuple[int | None, ...], from_weights: bool = False
) -> tuple[int | None, ...]:
    """The shape that a constant has beside an input of `shape`."""
    net = Net()
    x = net.input("x", torch.float32, shape)
    constant = net.constant(value, from_weights)
    made = without_copies(net.finish({"y": net.add(x, constant)}, {}))
    return constants(made)[0]


def test_along_every_axis_that_both_have() -> None:
    same = torch.full((2, 3, 4), 0.5)
    assert added(same, (2, 3, 4)) == (1, 1, 1)
    assert added(same, (2, None, 4)) == (1, 3, 1)
    assert added(same, (1, 3, 4)) == (2, 1, 1)
    assert added(torch.full((0, 3), 0.5), (0, 3)) == (0, 1)


def test_of_weights_only_the_batch() -> None:
    """A fine-tune has the same network, also of a model whose weights are all ones."""
    assert added(torch.ones(2, 3, 4), (2, 3, 4), from_weights=True) == (1, 3, 4)
    assert added(torch.ones(1, 3, 4), (2, 3, 4), from_weights=True) == (1, 3, 4)


def test_a_negative_zero_is_not_a_zero() -> None:
    signs = torch.tensor([0.0, -0.0])[:, None].expand(2, 3)
    assert added(signs, (2, 3)) == (2, 1)
    assert added(torch.full((2, 3), torch.nan), (2, 3)) == (2, 3)


def test_two_constants_of_a_choice() -> None:
    """Of two that have the same copies, one must keep them if nothing else has the batch."""
    net = Net()
    keep = net.input("keep", torch.bool, (1, 3))
    then, otherwise = (net.constant(torch.full((2, 3), n)) for n in (1.0, 2.0))
    network = net.finish({"y": net.select(keep, then, otherwise)}, {})
    made = without_copies(network)
    shapes = [t.shape for t in made.layers[0].inputs if t is not None]
    assert shapes == [(1, 3), (1, 1), (2, 1)]
    feeds = {"keep": torch.tensor([[True, False, True]])}
    assert torch.equal(evaluate(made, feeds)["y"], evaluate(network, feeds)["y"])


def test_nothing_to_leave_out() -> None:
    _, network = network_of("differ")
    assert without_copies(network) is network
