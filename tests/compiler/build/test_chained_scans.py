"""For full TensorRT, a loop over dynamic sizes behind another one runs in torch; a stack is one loop."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from compiler.build.builder import BuildRefused
from compiler.build.networks import BuildRequest, Converted
from compiler.convert.library import REGISTRY
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.pipeline import convert_program
from compiler.trace.export import trace
from enginebundle.format.spec import Target, TensorSpec
from tests.compiler.small_models import profile

DYNAMIC = (profile(b=(1, 2, 3), t=(1, 5, 9)),)


class Layers(nn.Module):
    """One recurrent layer behind the other; `between` is what stands there."""

    def __init__(self, *layers: nn.Module, between: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.between = between or nn.Identity()

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = self.between(layer(x)[0])
        return {"y": x}


class Beside(nn.Module):
    """Two layers that both read x."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = lstm(), nn.GRU(6, 6, batch_first=True)

    def forward(self, x: Any) -> Any:
        return {"y": self.one(x)[0] + self.other(x)[0]}


def lstm(**form: Any) -> nn.Module:
    return nn.LSTM(6, 6, batch_first=True, **form)


def converted(
    model: nn.Module, target: str = "trt:sm_90", profiles: Any = DYNAMIC, full: bool = False
) -> Converted:
    inputs = (TensorSpec("x", "float32", ("b", "t", 6)),)
    program = capture(lower(trace(model.eval(), inputs, DYNAMIC), REGISTRY.ops()), inputs)
    request = BuildRequest(Target.parse(target), profiles, require_full_compilation=full)
    return convert_program(program, request)


def in_torch(found: Converted) -> dict[str, str]:
    """The code of the reason, by operator."""
    return {kept.op: kept.reason.code for kept in found.parts.report.kept}


@pytest.mark.parametrize(
    ("model", "operators"),
    [
        (Layers(lstm(num_layers=2, bidirectional=True)), {"aten.lstm.input"}),
        (Layers(lstm(num_layers=2), lstm()), {"aten.lstm.input"}),
        (Layers(nn.GRU(6, 6, batch_first=True), nn.RNN(6, 6, batch_first=True)), {"aten.rnn_tanh.input"}),
        (Layers(lstm(), nn.GRU(6, 6, batch_first=True), between=nn.Linear(6, 6)), {"aten.gru.input"}),
    ],
    ids=["both directions", "behind a stack", "two modules", "something between"],
)  # fmt: skip
def test_the_second_of_two_runs_in_torch(model: nn.Module, operators: set[str]) -> None:
    assert in_torch(converted(model)) == dict.fromkeys(operators, "scan")
    assert in_torch(converted(model, "rtx:sm_89")) == {}


@pytest.mark.parametrize(
    "model",
    [
        Layers(lstm()),
        Layers(lstm(bidirectional=True)),
        Beside(),
        Layers(lstm(num_layers=2)),
        Layers(lstm(num_layers=3, proj_size=4), between=nn.Linear(4, 6)),
        Layers(nn.GRU(6, 6, num_layers=2, batch_first=True)),
    ],
)
def test_one_loop_and_loops_side_by_side_stay(model: nn.Module) -> None:
    assert in_torch(converted(model)) == {}


STEPS = (profile(b=(1, 2, 3), t=(5, 5, 5)),)
ALL = (profile(b=(2, 2, 2), t=(5, 5, 5)),)


@pytest.mark.parametrize(
    ("both", "fixed", "stays"),
    [(False, STEPS, True), (True, STEPS, False), (True, ALL, True)],
    ids=["one direction", "both directions", "both directions, nothing dynamic"],
)
def test_a_fixed_number_of_steps(both: bool, fixed: Any, stays: bool) -> None:
    model = Layers(lstm(), lstm()) if not both else Layers(lstm(num_layers=2, bidirectional=True))
    assert (in_torch(converted(model, profiles=fixed)) == {}) == stays


def test_where_everything_must_be_in_engines_it_is_refused() -> None:
    with pytest.raises(BuildRefused, match="over dynamic sizes") as caught:
        converted(Layers(lstm(), lstm()), full=True)
    assert caught.value.node.startswith("lstm")
