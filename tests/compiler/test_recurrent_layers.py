"""Recurrent layers of a dynamic length through the whole compiler: one engine, right at every length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compiler.convert.library import REGISTRY
from compiler.goldens.goldens import GoldenSource, make_goldens
from compiler.lower import LowerRefused, decompose, lower
from compiler.lower.capture import capture
from compiler.pipeline import BuildRequest, BuiltProgram, build_program
from compiler.program import run
from compiler.trace.export import trace
from enginebundle.format.spec import Target, TensorSpec
from tests.compiler.small_models import profile

PROFILES = (profile(b=(1, 2, 3), t=(1, 9, 40)),)


class Model(nn.Module):
    """`function(layer, *inputs)`; the layer has 4 input and 6 hidden features."""

    def __init__(self, layer: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.layer = layer
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def compiled(
    model: nn.Module, *shapes: tuple[int | str, ...], target: str = "rtx:sm_89", precision: str = "fp32"
) -> BuiltProgram:  # fmt: skip
    """The model of float32 tensors of these shapes, built and compared at min, opt and max."""
    inputs = tuple(TensorSpec(f"x{i}", "float32", shape) for i, shape in enumerate(shapes))
    goldens = make_goldens(model.eval(), GoldenSource(seed=1), inputs, PROFILES)
    lowered = lower(trace(model, inputs, PROFILES), REGISTRY.ops(), precision=precision)
    request = BuildRequest(Target.parse(target), PROFILES, precision=precision)
    return build_program(capture(lowered, inputs), request, goldens)


def whole(model: Model, x: Tensor) -> Any:
    return model.layer(x)[0]


def ends(model: Model, x: Tensor) -> Any:
    """The last output, and the last states."""
    out, state = model.layer(x)
    return out[:, -1], state


def from_states(model: Model, x: Tensor, *states: Tensor) -> Any:
    return model.layer(x, states if len(states) > 1 else states[0])


def decomposed(model: Model, x: Tensor) -> Any:
    """Beside an operator that torch decomposes, which exports the program again."""
    return model.layer(functional.huber_loss(x, x.flip(1), reduction="none"))[0].softmax(-1)


def halved(model: Model, x: Tensor) -> Any:
    """Pooled first: the layer's length is a quotient."""
    padded = functional.pad(x, (0, 0, 0, 1))
    return model.layer(functional.avg_pool1d(padded.mT, 2).mT)[0]


def longer(model: Model, x: Tensor) -> Any:
    """With a first step of zeros, as where a token is put before the others."""
    return model.layer(functional.pad(x, (0, 0, 1, 0)))[0][:, 1:]


def twice(model: Model, x: Tensor) -> Any:
    """An encoder's states begin a decoder, which reads the input from its end."""
    _, state = model.layer(x)
    return model.layer(x.flip(1), state)[0] + model.layer(x)[0]


def steps_as_batch(model: Model, x: Tensor) -> Any:
    """The batch as the steps, and the steps as a batch, as Sequencer does with rows and columns."""
    return model.layer(x.transpose(0, 1))[0].transpose(0, 1)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[..., Any], tuple[tuple[int | str, ...], ...]]] = {
    "lstm": (lambda: nn.LSTM(4, 6, batch_first=True), whole, (("b", "t", 4),)),
    "lstm-deep": (lambda: nn.LSTM(4, 6, 3, batch_first=True, bidirectional=True, dropout=0.5), whole, (("b", "t", 4),)),
    "lstm-ends": (lambda: nn.LSTM(4, 6, 2, batch_first=True), ends, (("b", "t", 4),)),
    "lstm-states": (lambda: nn.LSTM(4, 6), from_states, (("t", "b", 4), (1, "b", 6), (1, "b", 6))),
    "lstm-projected": (lambda: nn.LSTM(4, 6, 2, proj_size=5, bidirectional=True), from_states,
                       (("t", "b", 4), (4, "b", 5), (4, "b", 6))),
    "lstm-unbatched": (lambda: nn.LSTM(4, 6), whole, (("t", 4),)),
    "gru": (lambda: nn.GRU(4, 6, 2, batch_first=True, bidirectional=True), ends, (("b", "t", 4),)),
    "gru-states": (lambda: nn.GRU(4, 6, bias=False), from_states, (("t", "b", 4), (1, "b", 6))),
    "rnn": (lambda: nn.RNN(4, 6, 2, batch_first=True), ends, (("b", "t", 4),)),
    "rnn-relu": (lambda: nn.RNN(4, 6, nonlinearity="relu", bidirectional=True), whole, (("t", "b", 4),)),
    "decomposed": (lambda: nn.LSTM(4, 6, batch_first=True), decomposed, (("b", "t", 4),)),
    "halved": (lambda: nn.GRU(4, 6, batch_first=True), halved, (("b", "t", 4),)),
    "longer": (lambda: nn.LSTM(4, 6, batch_first=True), longer, (("b", "t", 4),)),
    "twice": (lambda: nn.LSTM(4, 6, batch_first=True), twice, (("b", "t", 4),)),
    "steps-as-batch": (lambda: nn.GRU(4, 6, batch_first=True), steps_as_batch, (("b", "t", 4),)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_one_engine_whatever_the_length(name: str) -> None:
    make, function, shapes = MODELS[name]
    torch.manual_seed(0)
    built = compiled(Model(make(), function), *shapes)
    assert [segment.kind for segment in built.segments] == ["engine"], built.report["kept"]
    assert built.report["torch_nodes"] == 0
    assert built.evaluated is not None
    assert built.evaluated.worst <= 1


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", ["lstm-deep", "gru", "rnn"])
def test_in_half_precision(name: str, precision: str) -> None:
    make, function, shapes = MODELS[name]
    torch.manual_seed(0)
    built = compiled(Model(make(), function), *shapes, precision=precision)
    assert [segment.kind for segment in built.segments] == ["engine"], built.report["kept"]
    assert built.evaluated is not None
    assert built.evaluated.worst <= 1


@pytest.mark.parametrize("name", MODELS)
def test_the_program_for_torch_keeps_the_operator_and_its_length(name: str) -> None:
    make, function, shapes = MODELS[name]
    torch.manual_seed(0)
    model = Model(make(), function).eval()
    inputs = tuple(TensorSpec(f"x{i}", "float32", shape) for i, shape in enumerate(shapes))
    program = capture(lower(trace(model, inputs, PROFILES), REGISTRY.ops()), inputs)
    for b, t in ((1, 1), (2, 17), (3, 40)):
        given = [torch.randn([{"b": b, "t": t}.get(str(n), n) for n in s]) for s in shapes]  # type: ignore[misc]
        want = torch.utils._pytree.tree_leaves(model(*given))
        got = run(program, {f"x{i}": x for i, x in enumerate(given)})
        for one, two in zip(got.values(), want, strict=True):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_sizes_are_not_taken_where_torch_decomposes_the_operator() -> None:
    model = nn.LSTM(4, 6).eval()
    x = torch.randn(5, 2, 4)
    inputs, profiles = (TensorSpec("input", "float32", (5, "b", 4)),), (profile(b=(1, 2, 3)),)
    keep = decompose.DEFAULT_KEEP - {"aten.lstm.input"}
    lowered = lower(trace(model, inputs, profiles), keep)
    assert "lstm" not in str(lowered.graph)
    want = model(x)
    got = lowered.module()(input=x)
    torch.testing.assert_close(got, want)


def test_a_dynamic_length_that_torch_decomposes_is_refused() -> None:
    inputs = (TensorSpec("input", "float32", ("t", 2, 4)),)
    exported = trace(nn.LSTM(4, 6).eval(), inputs, PROFILES)
    with pytest.raises(LowerRefused, match=r"decompos"):
        lower(exported, decompose.DEFAULT_KEEP - {"aten.lstm.input"})
