"""Dynamic sizes through the whole compiler: one engine, right at min, opt and max of each symbol.

Independent, tied and derived sizes compile; a size that only data tells stays in torch, by name.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from compiler.convert.library import REGISTRY
from compiler.goldens.goldens import GoldenSource, make_goldens
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.pipeline import BuildRequest, BuiltProgram, build_program
from compiler.trace.export import trace
from enginebundle.format.spec import Target, TensorSpec
from tests.compiler.small_models import profile

TARGET = Target.parse("rtx:sm_89")
RANGES = {"n": (2, 6, 12), "m": (1, 4, 9), "b": (1, 2, 3), "k": (1, 2, 4)}


class Function(nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(*inputs)


def compiled(
    function: Callable[..., torch.Tensor], *shapes: tuple[int | str, ...], min_nodes: int = 1
) -> BuiltProgram:
    """`function` of float32 tensors of these shapes, built and compared at min, opt and max."""
    inputs = tuple(TensorSpec(f"x{i}", "float32", shape) for i, shape in enumerate(shapes))
    text = " ".join(str(dim) for shape in shapes for dim in shape)
    profiles = (profile(**{s: r for s, r in RANGES.items() if s in text}),)
    model = Function(function)
    goldens = make_goldens(model, GoldenSource(seed=1), inputs, profiles)
    lowered = lower(trace(model, inputs, profiles), REGISTRY.ops())
    job = BuildRequest(TARGET, profiles, min_nodes=min_nodes)
    return build_program(capture(lowered, inputs), job, goldens)


def outer(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.cat([x[:, None] * y[None], (x[:, None] + y)], 1)


def attend(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Causal from the lower right: the sizes' difference is in the mask."""
    rows, columns = torch.arange(q.shape[1]), torch.arange(k.shape[1])
    mask = columns <= rows[:, None] + k.shape[1] - q.shape[1]
    return functional.scaled_dot_product_attention(q, k, k, attn_mask=mask)


def windows(x: torch.Tensor) -> torch.Tensor:
    """Padded up to a multiple of 4, cut into windows, each summed, and cut back."""
    extra = -x.shape[1] % 4
    padded = functional.pad(x, (0, extra))
    summed = padded.view(x.shape[0], -1, 4).sum(-1, keepdim=True)
    return (summed + padded.view(x.shape[0], -1, 4)).flatten(1)[:, : x.shape[1]]


def positions(x: torch.Tensor) -> torch.Tensor:
    """Numbers made of sizes: positions, scales, a fraction of the length."""
    n = x.shape[1]
    angle = torch.arange(n, dtype=torch.float32) / n
    return x * n**-0.5 + torch.sin(angle) + torch.full((n,), 1.0 / n)


def through_a_tensor(x: torch.Tensor) -> torch.Tensor:
    """A size put into a tensor, computed with there, and read back, as DeBERTa does."""
    size = torch.tensor(x.shape[1])
    low, high = (5 - (size - 1) * 2).item(), (size + size).item()
    return x.clamp(low, high) * torch.arange(x.shape[1]).clamp(max=low)


SHAPES = {
    "independent": (outer, ("n", 4), ("m", 4)),
    "tied": (lambda x, y: x @ y.T + x.sum(0).mean(), ("n", 4), ("n", 4)),
    "tied-across-axes": (lambda x, y: x @ y, ("b", "n", "m"), ("b", "m", "n")),
    "twice": (lambda x, y: x.view(-1, 2, 4).sum(1) + y, ("2*n", 4), ("n", 4)),
    "half": (lambda x, y: functional.avg_pool1d(x, 2) + y, ("b", 4, "n"), ("b", 4, "n//2")),
    "half-rounded-up": (lambda x, y: x[:, ::2] - y, ("b", "n"), ("b", "n - n//2")),
    "half-of-even": (lambda x, y: x[..., ::2] + y[..., : x.shape[2] // 2], ("b", 4, "2*n"), ("b", 4, "n")),
    "two halves": (lambda x, y: torch.cat([x, y]).cumsum(0), ("n//2", 3), ("n - n//2", 3)),
    "one and a half": (lambda x: x.cumsum(0) * x.shape[0], ("(3*n)//2", 3)),
    "sum": (lambda x, y, z: torch.cat([x, y]) * z, ("n", 4), ("m", 4), ("n + m", 4)),
    "difference": (lambda x, y: x[y.shape[0] :].sum() + y.sum(), ("n + m", 4), ("m", 4)),
    "product": (lambda x, y: x.flatten(0, 1) + y, ("n", "m", 4), ("n*m", 4)),
    "plus-one": (lambda x, y: functional.pad(x, (0, 1)) + y, ("b", "n"), ("b", "n + 1")),
    "lower-right-causal": (attend, ("b", "n", 8), ("b", "n + m", 8)),
    "windows": (windows, ("b", "n")),
    "positions": (positions, ("b", "n")),
    "through-a-tensor": (through_a_tensor, ("b", "n")),
    "strided": (lambda x: x[:, 1::3].flip(1) + x[:, ::3][:, : x[:, 1::3].shape[1]], ("b", "n")),
    "chunks": (lambda x: torch.stack(x.chunk(2, 1)).prod(0), ("b", "2*n")),
    "roll": (lambda x: x.roll(x.shape[1] // 2, 1) - x, ("b", "n")),
    "unfold": (lambda x: x.unfold(1, 2, 1).amax(-1), ("b", "n")),
    "repeat": (lambda x, y: x.repeat(y.shape[0], 1) + y.repeat_interleave(x.shape[0], 0),
               ("n", 4), ("m", 4)),
    "resize": (lambda x: functional.interpolate(x, scale_factor=2, mode="nearest"), ("b", 4, "n", "m")),
    "resize-to": (lambda x, y: functional.interpolate(x, y.shape[2:], mode="bilinear") * y,
                  ("b", 4, "n", "m"), ("b", 4, "2*n", "3*m")),
    "convolution": (lambda x: functional.conv1d(x, torch.ones(4, 4, 3), stride=2, padding=1), ("b", 4, "n")),
    "triangle": (lambda x: x.tril(1) @ torch.ones(x.shape[1], x.shape[1]).triu(), ("n", "m")),
    "largest": (lambda x: x.topk(2, 1).values.sum(1) + x.argmax(1), ("b", "n")),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_sizes_are_one_engine_and_right_at_every_point(name: str) -> None:
    function, *shapes = SHAPES[name]
    built = compiled(function, *shapes)
    assert [segment.kind for segment in built.segments] == ["engine"], built.report["kept"]
    assert built.report["torch_nodes"] == 0
    assert built.evaluated is not None
    assert {golden for golden, *_ in built.evaluated.cases} >= {"p-min", "p-opt", "p-max"}
    assert built.evaluated.worst <= 1


def by_value(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A number read from data cuts a tensor."""
    count = y.abs().sum().int().item() % 2 + 1
    torch._check(count <= x.shape[0])
    return (x * 2)[:count].sum(0) + y.exp()


def by_condition(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x * 2)[x[:, 0] > 0].sum(0) + y.exp()


def by_position(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x[torch.nonzero(x[:, 0] > 0)[:, 0]].sum(0) + y.exp()


@pytest.mark.parametrize(
    ("function", "op", "reason"),
    [
        (by_value, "aten._local_scalar_dense.default", "a number read from a tensor's data"),
        (by_condition, "aten.index.Tensor", "the size of its result depends on data"),
        (by_position, "aten.nonzero.default", "nonzero"),
    ],
)
def test_a_size_read_from_data_stays_in_torch_and_the_rest_does_not(function, op, reason) -> None:
    built = compiled(function, ("n", 4), (4,))
    kinds = [segment.kind for segment in built.segments]
    assert kinds.count("torch_graph") == 1
    assert "engine" in kinds
    kept = {k["op"]: k for k in built.report["kept"]}
    assert reason in kept[op]["detail"]
    assert kept[op]["source"]
    # What depends on it says so, by the name of the tensor whose size nobody knows.
    last = kept["aten.sum.dim_IntList"]
    assert last["code"] == "unbounded_size"
    assert "known only from data" in last["detail"]
    assert "u0" in last["detail"]
    assert "aten.exp.default" not in kept
    assert built.evaluated is not None
    assert built.evaluated.worst <= 1


def test_a_size_that_shrinks_while_its_symbol_grows() -> None:
    """TensorRT is told the smallest and the largest size, not those at the symbol's ends."""
    built = compiled(lambda x, y: x.exp().sum(0) + y.exp().sum(), ("13 - n", 4), ("n",))
    assert [segment.kind for segment in built.segments] == ["engine"]
    assert built.report["torch_nodes"] == 0
