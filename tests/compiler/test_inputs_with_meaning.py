"""Inputs that only some values fit (offsets, lengths, indices, boxes): a model is traced with the user's goldens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from compiler.goldens.goldens import GoldenSource, GoldensRefused
from compiler.pipeline import BuildRequest, Traced, TraceRequest, build_program, trace_model
from compiler.trace.examples import from_calls
from compiler.trace.source import Source
from enginebundle.format.spec import Profile, Target, TensorSpec
from tests.compiler.small_models import profile, spec

Cases = list[dict[str, torch.Tensor]]
SIZES = ((1, 4), (2, 8), (4, 16))


class Model(nn.Module):
    """`function(embeddings, *inputs)`."""

    def __init__(self, function: Callable[..., torch.Tensor], layer: nn.Module) -> None:
        super().__init__()
        self.function, self.layer = function, layer

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self.function(self.layer, first, second)


def _ids(low: int, high: int, *shape: int) -> torch.Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(sum(shape)))


def _offsets(bags: int, count: int) -> torch.Tensor:
    """Sorted, from 0 to `count`: one more than there are bags."""
    return torch.cat([torch.tensor([0]), _ids(0, count, bags - 1).sort()[0], torch.tensor([count])])


def bags(mode: str) -> nn.Module:
    return Model(
        lambda layer, ids, offsets: layer(ids, offsets),
        nn.EmbeddingBag(20, 8, mode=mode, include_last_offset=True),
    )


def bags_goldens() -> Cases:
    return [{"first": _ids(0, 20, n), "second": _offsets(b, n)} for b, n in SIZES]


def _up_to_length(layer: nn.Module, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    assert (lengths > 0).all()
    words = layer(ids - 100)
    kept = torch.arange(ids.shape[1]) < lengths[:, None]
    return (words * kept[..., None]).sum(1) / lengths[:, None]


def lengths() -> nn.Module:
    return Model(_up_to_length, nn.Embedding(20, 8))


def lengths_goldens() -> Cases:
    return [{"first": _ids(100, 120, b, s), "second": _ids(1, s + 1, b)} for b, s in SIZES]


def _in_pairs(layer: nn.Module, ids: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    if (scale < 2).any():
        raise ValueError("scales are at least 2")
    # torch refuses a named size here: only with Dim.AUTO is it a multiple of two.
    return layer(ids - 100).unflatten(1, (-1, 2)).sum(2) * scale[:, None, None]


def pairs() -> nn.Module:
    return Model(_in_pairs, nn.Embedding(20, 8))


def pairs_goldens() -> Cases:
    return [{"first": _ids(100, 120, b, s), "second": _ids(2, 9, b)} for b, s in SIZES]


def _of_boxes(layer: nn.Module, boxes: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    return (
        layer(boxes[..., 2] - boxes[..., 0])
        + layer(boxes[..., 3] - boxes[..., 1])
        + shift[:, None, None]
    )


def boxes() -> nn.Module:
    return Model(_of_boxes, nn.Embedding(50, 8))


def boxes_goldens() -> Cases:
    return [{"first": _ids(0, 50, b, s, 4).sort(-1)[0], "second": torch.ones(b)} for b, s in SIZES]


IDS, BATCH = spec("first", "int64", "b", "s"), {"b": (1, 2, 4), "s": (4, 8, 16)}
MODELS: dict[str, tuple[tuple[TensorSpec, ...], Profile]] = {
    "bags": ((spec("first", "int64", "n"), spec("second", "int64", "b + 1")), profile(b=(1, 2, 4), n=(1, 8, 16))),
    "lengths": ((IDS, spec("second", "int64", "b")), profile(**BATCH)),
    "pairs": ((spec("first", "int64", "b", "2*s"), spec("second", "int64", "b")), profile(b=(1, 2, 4), s=(2, 4, 8))),
    "boxes": ((spec("first", "int64", "b", "s", 4), spec("second", "float32", "b")), profile(**BATCH)),
}  # fmt: skip


def traced(name: str, goldens: GoldenSource | None = None, **kwargs: str) -> Traced:
    inputs, sizes = MODELS[name]
    goldens = goldens or GoldenSource(entrypoint=f"{__name__}:{name}_goldens")
    source = Source(entrypoint=f"{__name__}:{name}", kwargs=tuple(kwargs.items()))
    return trace_model(TraceRequest(source, inputs, (sizes,), goldens))


@pytest.mark.parametrize("name", ["lengths", "pairs", "boxes"])
def test_traced_and_right(name: str) -> None:
    found = traced(name)
    job = BuildRequest(Target.parse("rtx:sm_89"), (MODELS[name][1],), min_nodes=1)
    built = build_program(found.program, job, found.goldens)
    assert [segment.kind for segment in built.segments] == ["engine"]
    assert len({case[0] for case in built.evaluated.cases}) == 3


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_with_the_last_offset(mode: str) -> None:
    found = traced("bags", mode=mode)
    job = BuildRequest(Target.parse("rtx:sm_89"), (MODELS["bags"][1],), min_nodes=1)
    assert build_program(found.program, job, found.goldens).evaluated.worst <= 1


@pytest.mark.parametrize("name", ["lengths", "pairs", "boxes"])
def test_without_goldens_the_drawn_inputs_are_blamed(name: str) -> None:
    with pytest.raises(GoldensRefused, match="which nobody gave") as caught:
        traced(name, GoldenSource(seed=1))
    assert "goldens" in caught.value.remedy


def test_the_call_that_needs_the_least_is_cut_or_repeated() -> None:
    inputs = (spec("x", "int64", "b", "s"),)
    calls = [{"x": torch.arange(b * s).reshape(b, s)} for b, s in ((1, 3), (2, 4), (6, 9))]
    make = from_calls(calls, inputs)
    assert make({"b": 2, "s": 4})["x"].tolist() == calls[1]["x"].tolist()
    assert make({"b": 1, "s": 2})["x"].tolist() == [[0, 1]]
    assert make({"b": 4, "s": 2})["x"].tolist() == [[0, 1], [9, 10], [18, 19], [27, 28]]
    assert make({"b": 6, "s": 11})["x"][0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1]
    empty = from_calls([{"x": torch.zeros(0, 3, dtype=torch.int64)}], inputs)
    assert empty({"b": 2, "s": 3})["x"].tolist() == [[0, 0, 0]] * 2
