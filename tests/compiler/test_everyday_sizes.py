"""Everyday code over dynamic sizes: the network of the engine gives eager's values at every size."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import log, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from compiler.build.evaluated import evaluate_partition
from compiler.convert.library import REGISTRY
from compiler.goldens.goldens import GoldenCase
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.pipeline import BuildRequest, build_program, convert_program
from compiler.trace.export import TraceRefused, trace
from enginebundle.format.spec import Target, TensorSpec
from tests.compiler.small_models import profile

X = torch.Tensor
TARGET = Target.parse("rtx:sm_89")
INPUTS = (TensorSpec("x", "float32", ("n", 6)),)


class Model(nn.Module):
    def __init__(self, function: Callable[[X], X]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: X) -> X:
        return self.function(x)


CASES: dict[str, Callable[[Any], Any]] = {
    "math.sqrt": lambda x: x / math.sqrt(x.shape[0]),
    "sqrt by name": lambda x: x * sqrt(x.shape[0] * x.shape[1]),
    "math.log": lambda x: x * math.log(x.shape[0]) + log(x.shape[0], 2),
    "other functions": lambda x: x * math.exp(-x.shape[0]) + math.cos(math.pi / x.shape[0]) + math.log1p(x.shape[0]),
    "isqrt": lambda x: x[: math.isqrt(x.shape[0])].sum(0),
    "int of a root": lambda x: x[: int(math.sqrt(x.shape[0]))].sum(0),
    "float power": lambda x: x * float(x.shape[0]) ** -0.5,
    "round": lambda x: x[: round(x.shape[0] * 0.5)].sum(0),
    "sym_sum": lambda x: x[: torch.sym_sum([x.shape[0] // 2, x.shape[0] // 3, 1])].sum(0),
    "divmod": lambda x: x * divmod(x.shape[0], 3)[0] + divmod(x.shape[0], 3)[1],
    "shifts": lambda x: x * (x.shape[0] << 2) + (x.shape[0] >> 1),
    "bits": lambda x: x * (x.shape[0] & 1) + (x.shape[0] & 6) + (x.shape[0] | 5),
    "linspace": lambda x: x * torch.linspace(0, 1, x.shape[0])[:, None],
    "linspace to a size": lambda x: x * torch.linspace(0, x.shape[0] - 1, 2 * x.shape[0] + 1)[::2].sum(),
    "linspace of sizes": lambda x: x + torch.linspace(0.5, x.shape[0] - 0.5, 6),
    "logspace": lambda x: x * torch.logspace(0, 1, x.shape[0])[:, None],
    "tril_indices": lambda x: torch.tril_indices(x.shape[0], x.shape[0], -1),
    "triu_indices": lambda x: (x @ x.T)[tuple(torch.triu_indices(x.shape[0], x.shape[0], 1))],
    "indices of a rectangle": lambda x: x[tuple(torch.tril_indices(x.shape[0], 6, 2))],
    "gradient": lambda x: torch.gradient(x, dim=0)[0],
    "gradient of both": lambda x: torch.stack(torch.gradient(x, spacing=0.5)),
    "combinations": lambda x: torch.combinations(x[:, 0]),
    "combinations again": lambda x: torch.combinations(x[:, 0], 2, True),
    "cartesian_prod": lambda x: torch.cartesian_prod(x[:, 0], x[0]),
    "one_hot": lambda x: functional.one_hot(torch.arange(x.shape[0]), x.shape[0]),
    "fill_diagonal_": lambda x: torch.zeros(x.shape[0], x.shape[0]).fill_diagonal_(2.0) @ x,
    "hann_window": lambda x: x * torch.hann_window(x.shape[0])[:, None],
    "rfftfreq": lambda x: torch.fft.rfftfreq(x.shape[0]),
    "periodic windows": lambda x: x * (torch.bartlett_window(x.shape[0]) + torch.kaiser_window(x.shape[0]))[:, None],
    "bartlett_window": lambda x: x * torch.bartlett_window(x.shape[0], False)[:, None],
    "kaiser_window": lambda x: x * torch.kaiser_window(x.shape[0], False, 4.0)[:, None],
    "as_tensor": lambda x: x / torch.as_tensor(x.shape[0]) + torch.asarray(x.shape[0] // 2),
    "as_tensor of several": lambda x: x * torch.as_tensor([x.shape[0], 2, 5], dtype=torch.float32).sum(),
    "gcd": lambda x: x * math.gcd(x.shape[0], 12) + math.gcd(18, x.shape[0] + 3, 27),
    "gcd of a difference": lambda x: x * math.gcd(x.shape[0] - 7, 4),
    "lcm": lambda x: x * math.lcm(x.shape[0], 6),
    "groups of a gcd": lambda x: x[: math.gcd(x.shape[0], 4)].sum(0),
    "tensor_split": lambda x: torch.cat([p.flip(0) for p in torch.tensor_split(x, 3)]),
    "tensor_split in two": lambda x: torch.tensor_split(x, 2)[0],
    "arange by two": lambda x: x[::2] * torch.arange(x.shape[0])[::2][:, None],
    "eye": lambda x: torch.eye(x.shape[0], 6) + torch.eye(x.shape[0]) @ x,
    "new_full": lambda x: x.new_full((x.shape[0], x.shape[0]), 0.5) @ x,
    "a mask": lambda x: torch.full((x.shape[0], x.shape[0]), float("-inf")).triu(1).softmax(-1),
    "meshgrid": lambda x: torch.stack(torch.meshgrid(torch.arange(x.shape[0]), torch.arange(6), indexing="xy")),
    "sizes in a tensor": lambda x: x / torch.tensor([x.shape[0], 2.0]).prod(),
    "up to a multiple": lambda x: functional.pad(x, (0, 0, 0, -x.shape[0] % 8)),
    "up to a power of two": lambda x: functional.pad(x, (0, 0, 0, 2 ** math.ceil(math.log2(x.shape[0])) - x.shape[0])),
    "a power of two of rows": lambda x: x[: 2 ** math.floor(math.log(x.shape[0], 2))].sum(0),
    "as a factor": lambda x: x * 2 ** math.ceil(math.log(x.shape[0]) / math.log(2)),
    "levels": lambda x: x * (x.shape[0] - 1).bit_length() + (1 << x.shape[0].bit_length()),
    "toeplitz": lambda x: torch.arange(x.shape[0])[:, None] - torch.arange(x.shape[0]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_right_at_every_size(name: str) -> None:
    model, profiles = Model(CASES[name]), (profile(n=(2, 5, 13)),)
    program = capture(lower(trace(model, INPUTS, profiles), REGISTRY.ops()), INPUTS)
    found = convert_program(program, BuildRequest(TARGET, profiles, min_nodes=1))
    assert [segment.kind for segment in found.parts.segments] == ["engine"]
    inputs = {n: torch.randn(n, 6) for n in range(2, 14)}
    (out,) = (spec.name for spec in program.graph.outputs)
    goldens = [GoldenCase(f"n{n}", {"x": x}, {out: model(x)}) for n, x in inputs.items()]
    evaluated = evaluate_partition(program, found.parts, found.networks, goldens, "fp32", {})
    assert len(evaluated.cases) == 12


@pytest.mark.parametrize(
    "name", ["bits", "round", "linspace", "triu_indices", "tensor_split", "up to a power of two"]
)
def test_tensorrt_builds_them(name: str) -> None:
    profiles = (profile(n=(2, 5, 13)),)
    program = capture(lower(trace(Model(CASES[name]), INPUTS, profiles), REGISTRY.ops()), INPUTS)
    built = build_program(program, BuildRequest(TARGET, profiles, min_nodes=1))
    assert [segment.kind for segment in built.segments] == ["engine"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * torch.linspace(0, 1, x.shape[0])[:, None],
        lambda x: x * torch.hann_window(x.shape[0])[:, None],
        lambda x: torch.tril_indices(x.shape[0], x.shape[0]),
        lambda x: (
            x[:, 0] * torch.bartlett_window(x.shape[0], False) + torch.kaiser_window(x.shape[0])
        ),
        lambda x: x * math.gcd(x.shape[0], 60),
    ],
    ids=["linspace", "hann_window", "tril_indices", "other windows", "gcd"],
)
def test_a_size_of_one(function: Callable[[X], X]) -> None:
    module = trace(Model(function), INPUTS, (profile(n=(1, 2, 5)),)).module(check_guards=False)
    module._forward_pre_hooks.clear()
    for n in range(1, 6):
        x = torch.randn(n, 6)
        torch.testing.assert_close(module(x=x), function(x))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * math.gcd(x.shape[0], x.shape[0] + 3),
        lambda x: x * math.gcd(x.shape[0], np.int64(4)),
        lambda x: x * int(x.shape[0]).bit_length(),
        lambda x: torch.combinations(x[:, 0], 3),
        lambda x: functional.pad(x, (0, int(2 ** math.ceil(math.log2(x.shape[0]))))),
    ],
    ids=["gcd of sizes", "gcd with numpy's", "bit_length", "combinations of 3", "a power of two"],
)
def test_what_is_left_is_refused_with_a_remedy(function: Callable[[X], X]) -> None:
    with pytest.raises(TraceRefused) as caught:
        trace(Model(function), INPUTS, (profile(n=(2, 5, 13)),))
    assert caught.value.code in ("fixed", "data_dependent", "guard")
    assert caught.value.remedy


def test_the_line_that_reads_a_size_as_a_number_is_named() -> None:
    with pytest.raises(
        TraceRefused, match=r"fixes it to the example's 5 \(from .*test_everyday_sizes.py:\d+ in"
    ):
        trace(Model(lambda x: x * math.comb(x.shape[0], 2)), INPUTS, (profile(n=(2, 5, 13)),))
