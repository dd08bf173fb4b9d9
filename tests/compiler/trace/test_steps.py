"""Whole numbers from logarithms of sizes: eager's at every size, and with a form as a size."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import SymInt, Tensor, nn
from torch.nn import functional

from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.program import run
from compiler.trace.export import TraceRefused, trace
from compiler.trace.short_sizes import jumps
from enginebundle.format import dims
from enginebundle.format.spec import TensorSpec
from tests.compiler.small_models import profile

INPUTS = (TensorSpec("x", "float32", (2, "n")),)


class Model(nn.Module):
    def __init__(self, number: Callable[[Any], Any]) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        """Columns of `x` and zeros, so many."""
        n = x.shape[1]
        return functional.pad(x, (0, self.number(n) - n)).cumsum(1)


NUMBERS: dict[str, Callable[[Any], Any]] = {
    "power of two": lambda n: 2 ** math.ceil(math.log2(n)),
    "pow": lambda n: pow(2, math.ceil(math.log(n, 2))),
    "power of two and a row": lambda n: 2 ** math.ceil(math.log2(n + 1)) + 1,
    "power of two of halves": lambda n: 2 * 2 ** math.ceil(math.log2((n + 1) // 2)),
    "quotient of logarithms": lambda n: 2 ** math.ceil(math.log(n) / math.log(2)),
    "shifted": lambda n: 1 << (n - 1).bit_length(),
    "twice the power below": lambda n: 2 << math.floor(math.log2(n)),
    "power of three": lambda n: 3 ** math.ceil(math.log(n, 3)),
    "digits": lambda n: n + math.floor(math.log10(n)) + 1,
    "truncated": lambda n: n + math.trunc(2.5 * math.log2(n)),
    "rounded": lambda n: n + round(math.log2(n)),
    "falling": lambda n: n + math.ceil(20 * math.exp(-n)),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_eagers_at_every_size(name: str) -> None:
    model = Model(NUMBERS[name])
    program = capture(lower(trace(model, INPUTS, (profile(n=(1, 5, 70)),))), INPUTS)
    (output,) = program.graph.outputs
    assert "u" not in str(output.shape[1])
    for n in range(1, 71):
        x = torch.randn(2, n)
        want = model(x)
        assert dims.evaluate(output.shape[1], {"n": n}) == want.shape[1]
        torch.testing.assert_close(run(program, {"x": x})["output"], want)


def test_a_logarithm_that_is_off_is_off_as_pythons() -> None:
    """`math.log(125, 5)` is a little above 3."""
    assert math.ceil(math.log(125, 5)) == 4
    model = Model(lambda n: n + math.ceil(math.log(n, 5)))
    program = capture(lower(trace(model, INPUTS, (profile(n=(100, 120, 130)),))), INPUTS)
    for n in (124, 125, 126):
        x = torch.randn(2, n)
        torch.testing.assert_close(run(program, {"x": x})["output"], model(x))


@pytest.mark.parametrize(
    "number",
    [
        lambda n: 2 ** int(math.ceil(math.log2(n))),  # noqa: RUF046  as people write it
        lambda n: int(2 ** math.ceil(math.log2(n))),
        lambda n: n + int(math.log2(n)),
        lambda n: n + math.ceil(100 * math.log2(n)),
    ],
    ids=["int of a rounded one", "int of a power", "int of a logarithm", "too many steps"],
)
def test_what_has_no_form_is_refused_with_its_line(number: Callable[[Any], Any]) -> None:
    with pytest.raises(TraceRefused, match=r"test_steps\.py") as refused:
        trace(Model(number), INPUTS, (profile(n=(2, 5, 100)),))
    assert refused.value.code in ("size", "guard")
    assert "int() around" in refused.value.remedy


def test_nothing_stays_behind() -> None:
    before = (
        dict(vars(SymInt)),
        {name for name in vars(Tensor) if "ceil" in name or "round" in name},
    )
    trace(Model(NUMBERS["shifted"]), INPUTS, (profile(n=(2, 5, 9)),))
    assert before[0] == vars(SymInt)
    assert before[1] == {name for name in vars(Tensor) if "ceil" in name or "round" in name}
    assert math.ceil(torch.tensor(2.5)) == 3


def test_jumps_are_where_a_value_changes() -> None:
    def found(values: dict[int, int]) -> list[tuple[int, int]] | None:
        return jumps(np.array(list(values)), np.array(list(values.values())))

    assert found({1: 5, 2: 5, 4: 7, 5: 6}) == [(4, 2), (5, -1)]
    assert found({3: 1}) == []
    assert found({n: n for n in range(65)}) == [(n, 1) for n in range(1, 65)]
    assert found({n: n for n in range(66)}) is None
