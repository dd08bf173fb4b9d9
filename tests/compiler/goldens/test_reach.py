"""Which integers a model accepts, found by running it, and goldens drawn over all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from compiler.goldens.goldens import GoldenCase, GoldenSource, GoldensRefused, make_goldens
from compiler.goldens.reach import reach
from enginebundle.format.spec import TensorSpec
from tests.compiler.small_models import profile, spec

TABLE = torch.arange(1000.0)[:, None].repeat(1, 3)
IDS = torch.zeros(2, 5, dtype=torch.int64)

READS: dict[str, tuple[Callable[[torch.Tensor], object], int | None]] = {
    "embedding": (lambda i: functional.embedding(i, TABLE), 1000),
    "index": (lambda i: TABLE[i], 1000),
    "index of the second axis": (lambda i: TABLE.T[:, i], 1000),
    "index after a slice": (lambda i: TABLE[:700][i[:, 1:]], 700),
    "gather": (lambda i: torch.gather(TABLE.T, 1, i), 1000),
    "take_along_dim": (lambda i: torch.take_along_dim(TABLE.T[:2], i, 1), 1000),
    "index_select": (lambda i: TABLE.index_select(0, i.flatten()), 1000),
    "take": (lambda i: torch.take(TABLE, i), 3000),
    "embedding_bag": (lambda i: functional.embedding_bag(i, TABLE), 1000),
    "one_hot": (lambda i: functional.one_hot(i, 17), 17),
    "scatter": (lambda i: torch.zeros(2, 9).scatter(1, i, 1.0), 9),
    "cross_entropy": (lambda i: functional.cross_entropy(torch.zeros(10, 6), i.flatten()), 6),
    "int32": (lambda i: functional.embedding(i.to(torch.int32), TABLE), 1000),
    "with an offset": (lambda i: functional.embedding(i + 2, TABLE), 998),
    "with an offset in a tensor": (lambda i: functional.embedding(i + torch.arange(5), TABLE), 996),
    "scaled": (lambda i: functional.embedding(3 * i, TABLE), 334),
    "by a remainder": (lambda i: functional.embedding(i % 1000, TABLE), 1000),
    "moved about": (
        lambda i: functional.embedding(torch.cat([i.T.reshape(5, 2), i.T]).flip(0), TABLE),
        1000,
    ),
    "the smaller of two": (lambda i: (TABLE[i], TABLE[:4][i]), 4),
    "only compared": (lambda i: TABLE[(i > 3).long()], None),
    "only computed with": (lambda i: i.float().cumsum(1), None),
}


@pytest.mark.parametrize("name", READS)
def test_what_a_model_reads_by_an_input_bounds_it(name: str) -> None:
    model, want = READS[name]
    found = reach({"i": IDS}, lambda tensors: model(tensors["i"].clone()))
    assert found == ({} if want is None else {"i": want})
    if want is not None:
        model(torch.full_like(IDS, want - 1))


def test_the_bound_is_tight() -> None:
    """One more is refused by torch, where nothing limits it first."""
    for name in READS.keys() - {"by a remainder", "take_along_dim"}:
        model, want = READS[name]
        if want is not None:
            with pytest.raises((IndexError, RuntimeError)):
                model(torch.full_like(IDS, want))


def test_a_model_without_integers_has_no_bounds() -> None:
    assert reach({"x": torch.ones(2)}, lambda tensors: TABLE[tensors["x"].long()]) == {}


def test_a_model_that_refuses_zeros_is_drawn_for_all_the_same() -> None:
    class Counts(nn.Module):
        def forward(self, n: torch.Tensor) -> torch.Tensor:
            if int(n.max()) == 0 and n.numel() > 8:
                raise ValueError("nothing to count")
            return n * 2

    sizes = (profile("all", b=(16, 16, 16)),)
    (case, *_) = make_goldens(Counts(), GoldenSource(seed=0), (spec("n", "int64", "b"),), sizes)
    assert set(case.inputs["n"].tolist()) == {0, 1}


class Words(nn.Module):
    """Token ids, position ids and a mask, as a language model takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(1000, 8)
        self.places = nn.Embedding(64, 8)

    def forward(self, ids: torch.Tensor, places: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (self.words(ids) + self.places(places)) * mask[..., None]


INPUTS = tuple(spec(name, "int64", "b", "s") for name in ("ids", "places", "mask"))
PROFILE = profile("all", b=(1, 2, 8), s=(2, 32, 64))


def drawn(model: nn.Module, inputs: tuple[TensorSpec, ...] = INPUTS) -> tuple[GoldenCase, ...]:
    return make_goldens(model, GoldenSource(seed=0), inputs, (PROFILE,))


def test_goldens_are_drawn_over_the_rows_that_a_model_reads() -> None:
    cases = drawn(Words().eval())
    ids = torch.cat([case.inputs["ids"].flatten() for case in cases])
    assert len(ids.unique()) > 400
    assert int(ids.max()) > 950
    places = torch.cat([case.inputs["places"].flatten() for case in cases])
    assert len(places.unique()) > 55
    assert int(places.max()) < 64
    assert set(torch.cat([case.inputs["mask"].flatten() for case in cases]).tolist()) == {0, 1}


def test_goldens_are_drawn_at_odd_sizes_too() -> None:
    shapes = {case.name: tuple(case.inputs["ids"].shape) for case in drawn(Words().eval())}
    assert shapes == {
        "all-min": (1, 2), "all-opt": (2, 32), "all-max": (8, 64), "all-low": (1, 17),
        "all-high": (5, 47),
    }  # fmt: skip


def test_the_bound_may_depend_on_sizes() -> None:
    class Pick(nn.Module):
        def forward(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
            return x.gather(1, at)

    inputs = spec("x", "float32", "b", "s"), spec("at", "int64", "b", "s")
    for case in drawn(Pick(), inputs):
        assert int(case.inputs["at"].max()) < case.inputs["x"].shape[1]


def test_images_of_bytes_are_drawn_over_all_of_them() -> None:
    class Image(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.float() / 255

    cases = drawn(Image(), (spec("x", "uint8", "b", "s"),))
    assert int(max(case.inputs["x"].max() for case in cases)) > 200


def test_the_users_bound_comes_first() -> None:
    source = GoldenSource(seed=0, high=(("ids", 5),))
    cases = make_goldens(Words().eval(), source, INPUTS, (PROFILE,))
    assert max(int(case.inputs["ids"].max()) for case in cases) == 4


def test_a_drawn_golden_that_fails_says_so_and_how_to_give_one() -> None:
    class Picky(nn.Module):
        def forward(self, n: torch.Tensor) -> torch.Tensor:
            if int(n.sum()) != 7:
                raise ValueError("these must add up to 7")
            return n

    with pytest.raises(GoldensRefused) as caught:
        drawn(Picky(), (spec("n", "int64", "b"),))
    assert "golden 'all-min' (n torch.int64 (1,)), which nobody gave: it was drawn" in str(
        caught.value
    )
    assert "ValueError: these must add up to 7" in caught.value.message
    assert 'goldens: { entrypoint: "module:function" }' in caught.value.remedy
    assert "high: 1000" in caught.value.remedy
