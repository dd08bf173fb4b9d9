"""Indices that pick every position become views; others stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from compiler.convert.library import REGISTRY
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.program import run
from compiler.trace.export import trace
from tests.compiler.convert.whole import Function
from tests.compiler.small_models import profile, spec

arange = torch.arange

WHOLE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a mask of Hugging Face": lambda x: x[
        arange(x.shape[0])[:, None, None, None], (arange(4) + 0)[None, None, None], arange(3)[:, None]
    ],
    "one dimension": lambda x: x[arange(x.shape[0])],
    "the middle one": lambda x: x[:, arange(4)],
    "all, in one axis each": lambda x: x[arange(x.shape[0])[:, None, None], arange(4)[:, None], arange(3)],
    "turned": lambda x: x[arange(x.shape[0]), arange(4)[:, None]],
    "not adjacent": lambda x: x[arange(x.shape[0])[:, None], :, arange(3)],
    "not adjacent and turned": lambda x: x[arange(x.shape[0]), :, arange(3)[:, None]],
    "a single position": lambda x: x[:, :, :1][:, arange(4)[:, None], arange(1)],
    "int32": lambda x: x[:, arange(4, dtype=torch.int32)],
    "cast": lambda x: x[:, arange(4).int().long()],
    "a size from another dimension": lambda x: (x.mT @ x)[:, arange(3)],
}  # fmt: skip
OTHERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a diagonal": lambda x: x[:, arange(3), arange(3)],
    "part": lambda x: x[:, arange(3)],
    "shifted": lambda x: x[:, arange(4) - 1],
    "from one on": lambda x: x[:, arange(1, 4)],
    "by twos": lambda x: x[:, arange(0, 4, 2)],
    "backwards": lambda x: x[:, arange(3, -1, -1)],
    "repeated": lambda x: x[:, arange(4)[:, None].expand(4, 2)],
    "times two": lambda x: x[:, arange(4) * 2 % 4],
    "the same everywhere": lambda x: x[arange(x.shape[0]) * 0],
    "halves, rounded": lambda x: x[:, (arange(4) / 2).long()],
    "one of two is not": lambda x: x[arange(x.shape[0])[:, None], torch.tensor([2, 0, 1])],
}


def lowered(function: Any) -> Any:
    inputs = (spec("x", "float32", "b", 4, 3),)
    return capture(
        lower(trace(Function(function, ()), inputs, (profile(b=(1, 2, 8)),)), REGISTRY.ops()),
        inputs,
    )


def picks(program: Any) -> bool:
    return any("index" in node.op for node in program.graph.nodes)


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("name", WHOLE)
def test_every_position_is_a_view(name: str, rows: int) -> None:
    function, x = WHOLE[name], torch.randn(rows, 4, 3)
    program = lowered(function)
    (found,) = run(program, {"x": x}).values()
    assert torch.equal(found, function(x))
    assert not picks(program)


@pytest.mark.parametrize("name", OTHERS)
def test_other_positions_stay(name: str) -> None:
    function, x = OTHERS[name], torch.randn(5, 4, 3)
    program = lowered(function)
    (found,) = run(program, {"x": x}).values()
    assert torch.equal(found, function(x))
    assert picks(program)
