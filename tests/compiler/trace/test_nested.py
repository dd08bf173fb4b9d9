"""Inputs inside lists, dicts and dataclasses, by the way to them; exported programs by the names of their forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.program import run
from compiler.trace.examples import TraceRefused
from compiler.trace.export import trace
from compiler.trace.load import load_model
from compiler.trace.nested import take_each
from compiler.trace.source import Source
from enginebundle.format.spec import TensorSpec
from enginebundle.serve.nested import flattened
from tests.compiler.small_models import profile

RANGES = {"b": (2, 3, 6)}


@dataclass
class Fields:
    ids: torch.Tensor
    mask: torch.Tensor | None = None


class Pair(NamedTuple):
    low: torch.Tensor
    high: torch.Tensor


@dataclass
class Both:
    pair: Pair
    many: list[Fields]


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 4)


class Listed(Base):
    def forward(self, feats: list[torch.Tensor], scale: torch.Tensor) -> torch.Tensor:
        assert type(feats) is list
        return self.linear(torch.cat(feats, 0)[: scale.shape[0]]) * scale + len(feats)


class Tupled(Base):
    def forward(self, feats: tuple[torch.Tensor, ...]) -> torch.Tensor:
        one, two = feats
        assert type(feats) is tuple
        return self.linear(one) - two


class Dicted(Base):
    def forward(self, batch: dict[str, Any], x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": self.linear(batch["ids"]) + x, **{k: v * 2 for k, v in batch.items()}}


class Structured(Base):
    def forward(self, batch: Fields | None = None) -> torch.Tensor:
        assert batch is not None
        assert batch.mask is not None
        return self.linear(batch.ids) * batch.mask


class Half(Base):
    """Fields with a default that nothing gives."""

    def forward(self, batch: Fields) -> torch.Tensor:
        assert batch.mask is None
        return self.linear(batch.ids)


class Deep(Base):
    def forward(self, both: Both) -> torch.Tensor:
        assert isinstance(both.pair, Pair)
        made = self.linear(both.pair.low) - both.pair.high
        for one in both.many:
            made = made * one.ids
        return made


class Anything(Base):
    """Neither annotated nor alike: positional ones and named ones."""

    def forward(self, *feats, **more):
        return self.linear(feats[0]) - feats[1] + more["bias"]


MODELS: dict[str, tuple[type[nn.Module], tuple[str, ...], Any]] = {
    "list": (Listed, ("feats.0", "scale", "feats.1"), lambda a, b, c: ([a, c], b)),
    "tuple": (Tupled, ("feats.0", "feats.1"), lambda a, b: ((a, b),)),
    "dict": (Dicted, ("x", "batch.ids", "batch.w"), lambda a, b, c: ({"ids": b, "w": c}, a)),
    "dataclass": (Structured, ("batch.mask", "batch.ids"), lambda a, b: (Fields(b, a),)),
    "default": (Half, ("batch.ids",), lambda a: (Fields(a),)),
    "deep": (
        Deep, ("both.many.0.ids", "both.pair.low", "both.pair.high", "both.many.1.ids"),
        lambda a, b, c, d: (Both(Pair(b, c), [Fields(a), Fields(d)]),),
    ),
}  # fmt: skip


def specs(names: Sequence[str]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, "float32", ("b", 4)) for name in names)


def answers(model: nn.Module, names: Sequence[str], size: int = 5) -> tuple[Any, list[Any]]:
    """What the traced program gives for random inputs, and these."""
    inputs, profiles = specs(names), (profile(**RANGES),)
    exported = trace(take_each(model, inputs), inputs, profiles)
    made = capture(lower(exported), inputs)
    assert [spec.name for spec in made.graph.inputs] == list(names)
    assert {"linear.weight", "linear.bias"} == made.weights.keys()
    tensors = [torch.randn(size, 4) for _ in names]
    return run(made, dict(zip(names, tensors, strict=True))), tensors


@pytest.mark.parametrize("name", MODELS)
def test_each_tensor_has_its_place(name: str) -> None:
    make, names, nest = MODELS[name]
    got, tensors = answers(make().eval(), names)
    with torch.no_grad():
        want = make()(*nest(*tensors))
    for key, tensor in (want if isinstance(want, dict) else {"output": want}).items():
        torch.testing.assert_close(got[key], tensor)


def test_arguments_by_position_and_by_name() -> None:
    got, (one, bias, two) = answers(Anything().eval(), ("feats.0", "more.bias", "feats.1"))
    with torch.no_grad():
        torch.testing.assert_close(got["output"], Anything()(one, two, bias=bias))


def test_a_model_output() -> None:
    class Heads(Base):
        def forward(self, encoded: BaseModelOutput) -> torch.Tensor:
            return self.linear(encoded.last_hidden_state) + sum(encoded.hidden_states)

    names = ("encoded.last_hidden_state", "encoded.hidden_states.0", "encoded.hidden_states.1")
    got, (last, *hidden) = answers(Heads().eval(), names)
    with torch.no_grad():
        want = Heads()(BaseModelOutput(last_hidden_state=last, hidden_states=tuple(hidden)))
    torch.testing.assert_close(got["output"], want)


@pytest.mark.parametrize(
    ("make", "names", "text"),
    [
        (Listed, ("feats.0", "feats.2", "scale"), "number them from 0"),
        (Listed, ("feat.0", "scale"), "no input named 'feat'"),
        (Structured, ("batch.ids", "batch.attention"), "Fields, which forward takes as 'batch'"),
    ],
)
def test_wrong_names(make: type[nn.Module], names: tuple[str, ...], text: str) -> None:
    with pytest.raises(TraceRefused, match=text) as refused:
        take_each(make(), specs(names))
    assert refused.value.code == "inputs"


class TestPrograms:
    """A `.pt2`, exported by position."""

    def program(self, folder: Path, name: str) -> nn.Module:
        make, names, nest = MODELS[name]
        b = torch.export.Dim("b", min=2, max=6)
        arguments = nest(*(torch.randn(4, 4) for _ in names))
        shapes = torch.utils._pytree.tree_map(lambda _: {0: b}, arguments)
        exported = torch.export.export(make().eval(), arguments, dynamic_shapes=shapes)
        torch.export.save(exported, folder / "m.pt2")
        return load_model(Source(program=str(folder / "m.pt2"), trusted=True))

    @pytest.mark.parametrize("name", ["list", "tuple", "dict"])
    @pytest.mark.parametrize("turned", [False, True])
    def test_its_own_names_in_any_order(self, tmp_path: Path, name: str, turned: bool) -> None:
        make, names, nest = MODELS[name]
        order = names[::-1] if turned else names
        got, tensors = answers(self.program(tmp_path, name), order)
        given = dict(zip(order, tensors, strict=True))
        with torch.no_grad():
            want = make()(*nest(*(given[n] for n in names)))
        for key, tensor in (want if isinstance(want, dict) else {"output": want}).items():
            torch.testing.assert_close(got[key], tensor)

    def test_plain_arguments(self, tmp_path: Path) -> None:
        class Plain(Base):
            def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
                return self.linear(image) - mask

        x, shapes = torch.randn(4, 4), {0: torch.export.Dim("b", min=2, max=6)}
        exported = torch.export.export(Plain(), (x, x + 1), dynamic_shapes=(shapes, shapes))
        torch.export.save(exported, tmp_path / "m.pt2")
        for names in (("image", "mask"), ("mask", "image"), ("one", "two")):
            model = load_model(Source(program=str(tmp_path / "m.pt2"), trusted=True))
            got, tensors = answers(model, names)
            given = tensors[::-1] if names[0] == "mask" else tensors
            with torch.no_grad():
                torch.testing.assert_close(got["output"], Plain()(*given))

    @pytest.mark.parametrize("names", [("image", "mask"), ("mask", "image"), ("one", "two")])
    def test_arguments_that_it_takes_by_name(self, tmp_path: Path, names: tuple[str, str]) -> None:
        class Named(Base):
            def forward(self, image: torch.Tensor, *, mask: torch.Tensor) -> torch.Tensor:
                return self.linear(image) - mask

        x, shapes = torch.randn(4, 4), {0: torch.export.Dim("b", min=2, max=6)}
        exported = torch.export.export(
            Named(), (x,), {"mask": x + 1}, dynamic_shapes={"image": shapes, "mask": shapes}
        )
        torch.export.save(exported, tmp_path / "m.pt2")
        model = load_model(Source(program=str(tmp_path / "m.pt2"), trusted=True))
        got, tensors = answers(model, names)
        image, mask = tensors[::-1] if names[0] == "mask" else tensors
        with torch.no_grad():
            torch.testing.assert_close(got["output"], Named()(image, mask=mask))

    def test_other_names(self, tmp_path: Path) -> None:
        model = self.program(tmp_path, "dict")
        with pytest.raises(TraceRefused, match=r"the program takes batch.ids, batch.w, x; got ids"):
            take_each(model, specs(("ids", "x")))
        with pytest.raises(TraceRefused, match=r"got batch.ids, y, x"):
            take_each(model, specs(("batch.ids", "y", "x")))

    def test_its_own_range_still_holds(self, tmp_path: Path) -> None:
        model, inputs = self.program(tmp_path, "tuple"), specs(MODELS["tuple"][1])
        with pytest.raises(TraceRefused):
            trace(take_each(model, inputs), inputs, (profile(b=(2, 3, 12)),))


def test_flattened() -> None:
    a, b, c = (torch.randn(2) for _ in range(3))
    wanted = ("both.pair.low", "both.pair.high", "both.many.0.ids", "x")
    given = {"both": Both(Pair(a, b), [Fields(c)]), "x": [1.0]}
    found = flattened(given, wanted)
    assert found == {"both.pair.low": a, "both.pair.high": b, "both.many.0.ids": c, "x": [1.0]}
    assert flattened({"both.pair.low": a, "other": [b]}, wanted) == {
        "both.pair.low": a,
        "other": [b],
    }
