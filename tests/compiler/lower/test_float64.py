"""Float64 that is there for positions becomes float32; any other stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compiler.convert.library import REGISTRY
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.program import Program, run
from compiler.trace.export import trace
from tests.compiler.small_models import profile, spec

INPUTS, SIZES = (spec("x", "float32", "h", "w", 8),), (profile(h=(2, 3, 5), w=(2, 4, 6)),)


class Model(nn.Module):
    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("omega", 1.0 / 10000 ** (torch.arange(2, dtype=torch.float64) / 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.omega)


def sines(x: Tensor, omega: Tensor) -> Tensor:
    """As RT-DETR's and ViT's positions of a grid."""
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in x.shape[:2])
    rows, columns = torch.meshgrid(rows, columns, indexing="ij")
    rows, columns = rows.flatten().outer(omega), columns.flatten().outer(omega)
    table = torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()], 1)
    return x + table.to(torch.float32).reshape(x.shape)


def rotary(x: Tensor, omega: Tensor) -> Tensor:
    angle = torch.arange(x.shape[1]).double()[:, None] * (1 / omega) ** -1.0
    return x * torch.stack([angle.cos(), angle.sin()], -1).flatten(1).repeat(1, 2).float()


def scale(x: Tensor, omega: Tensor) -> Tensor:
    return x * torch.tensor(x.shape[0], dtype=torch.float64).rsqrt().to(x.dtype)


def to_half(x: Tensor, omega: Tensor) -> Tensor:
    return x + (torch.arange(x.shape[0], dtype=torch.float64) / 3).half().float()[:, None, None]


def of_the_input(x: Tensor, omega: Tensor) -> Tensor:
    return (x.double() - x.double().mean()).float()


def rounded(x: Tensor, omega: Tensor) -> Tensor:
    return (
        x + torch.floor(torch.arange(x.shape[0], dtype=torch.float64) * 0.1).float()[:, None, None]
    )


def counted(x: Tensor, omega: Tensor) -> Tensor:
    places = (torch.arange(x.shape[1], dtype=torch.float64) * 0.7).long()
    return x[:, places % x.shape[1]]


def returned(x: Tensor, omega: Tensor) -> Tensor:
    return torch.arange(x.shape[0], dtype=torch.float64) * omega[0]


def lowered(function: Callable[[Tensor, Tensor], Tensor]) -> Program:
    return capture(lower(trace(Model(function), INPUTS, SIZES), REGISTRY.ops()), INPUTS)


def check(program: Program, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    model = Model(function)
    for h, w in ((2, 2), (3, 6), (5, 4)):
        x = torch.randn(h, w, 8)
        (found,) = run(program, {"x": x}).values()
        torch.testing.assert_close(found, model(x), rtol=1e-5, atol=1e-5)


def dtypes(program: Program) -> set[str]:
    return {value.dtype for node in program.graph.nodes for value in node.outputs}


@pytest.mark.parametrize("function", [sines, rotary, scale, to_half])
def test_positions_are_float32(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    program = lowered(function)
    assert "float64" not in dtypes(program)
    check(program, function)


@pytest.mark.parametrize("function", [of_the_input, rounded, counted, returned])
def test_what_counts_or_comes_from_inputs_stays(
    function: Callable[[Tensor, Tensor], Tensor],
) -> None:
    program = lowered(function)
    assert "float64" in dtypes(program)
    check(program, function)
