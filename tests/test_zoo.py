"""The zoo's models are worth comparing: what goes in changes what comes out."""

from __future__ import annotations

import random

import numpy
import pytest
import torch

from benchmarks import zoo
from benchmarks.zoo import audio, unseen


def test_both_sizes_list_the_same_twelve_names() -> None:
    assert [e.name for e in zoo.ZOO] == [e.name for e in zoo.SMALL]
    assert len({e.name for e in zoo.ZOO}) == 12


@pytest.mark.parametrize("name", [e.name for e in zoo.SMALL])
def test_small_model_depends_on_its_input_and_is_built_the_same_twice(name: str) -> None:
    model = zoo.build(name, small=True)
    assert not model.training
    inputs = dict(zoo.goldens(name, small=True))["max"]
    with torch.no_grad():
        result = model(**inputs)
        again = zoo.build(name, small=True)(**inputs)
    torch.testing.assert_close(result, again, atol=0, rtol=0)
    assert result.isfinite().all()
    assert (result[0] - result[1]).abs().max() > 0.02 * result.std()


@pytest.mark.parametrize("name", [e.name for e in audio.ENTRIES])
def test_weights_take_nothing_from_other_generators(name: str) -> None:
    """numpy's and Python's own are seeded by the system, so each process would have other weights."""
    told = []
    for seed in (1, 2):
        random.seed(seed)
        numpy.random.seed(seed)
        told.append(zoo.build(name, small=True).state_dict())
    torch.testing.assert_close(*told, atol=0, rtol=0)


def test_the_sweep_holds_every_architecture_asked_for_once() -> None:
    names = [e.name for e in zoo.SWEEP]
    assert len(set(names)) == len(names) >= 110
    asked = """
        bert-base roberta distilbert albert electra deberta-v2 mpnet modernbert gpt2 gpt-neox opt llama
        qwen2 qwen3 mistral gemma2 phi3 t5-small-encoder t5-decoder bart marian whisper-encoder
        clip-text clip-vision siglip vit-base swinv2 beit detr segformer wav2vec2
    """
    assert set(asked.split()) <= set(names)
    # All with a dynamic batch, text with a dynamic length too, but where a loop runs over it.
    dynamic = {e.name: [s for s, r in e.profiles[0].ranges if r.min < r.max] for e in zoo.SWEEP}
    assert all("b" in symbols for symbols in dynamic.values())
    assert all(set(symbols) & {"s", "t", "n"} for n, symbols in dynamic.items() if "bert" in n)


def test_forty_that_the_compiler_had_not_seen_have_all_their_sizes_dynamic() -> None:
    assert len(unseen.ENTRIES) == 40
    assert [entry.name for entry in unseen.ENTRIES if entry.fixed] == []
    sizes = {symbol for entry in unseen.ENTRIES for symbol, _ in entry.profiles[0].ranges}
    assert sizes == {"b", "s", "t", "n", "h", "w"}


def test_boxes_have_their_corners_in_order() -> None:
    boxes = dict(zoo.goldens("lilt", small=True))["max"]["bbox"]
    assert boxes.shape == (3, 12, 4)
    assert (boxes.diff(dim=-1) >= 0).all()


def test_goldens_pad_text_and_draw_in_range() -> None:
    entry = zoo.entry("bert-base", small=True)
    inputs = dict(zoo.goldens("bert-base", small=True))["max"]
    assert inputs["attention_mask"].sum(1).tolist() == [12, 11, 10]
    assert inputs["input_ids"].max() <= entry.high["input_ids"]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"no 'bort' in the zoo; it has minilm, bert-base"):
        zoo.entry("bort")
