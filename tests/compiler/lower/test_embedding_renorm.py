"""Embeddings with max_norm: rows that are read are shortened, as in eager. Of a table that is an input they come
out; of a weight they are a constant, where nothing else can see that eager torch keeps them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from compiler.convert.interpret import convert
from compiler.convert.library import REGISTRY
from compiler.lower import lower
from compiler.lower.capture import CaptureRefused, capture
from compiler.network.evaluate import evaluate
from compiler.program import run
from compiler.trace.export import trace
from enginebundle.format.spec import TensorSpec
from tests.compiler.small_models import profile
from tests.opinfo.judge import refusals

IDS = torch.tensor([[1, 5, 1], [0, 5, 2]])
"""Some rows twice, some not at all."""


class Looks(torch.nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return functional.embedding(ids, table, **self.options)


class Bags(Looks):
    def forward(self, table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return functional.embedding_bag(ids, table, **self.options)


CASES = {
    "by 2": Looks(max_norm=1.0),
    "by 1": Looks(max_norm=0.5, norm_type=1.0),
    "by the largest": Looks(max_norm=0.7, norm_type=math.inf),
    "by 3, with a row of padding": Looks(max_norm=0.3, norm_type=3.0, padding_idx=1),
    "all short enough": Looks(max_norm=99.0),
    "bags": Bags(max_norm=1.0),
    "bags of sums": Bags(max_norm=0.5, norm_type=1.0, mode="sum"),
}


def program(model: torch.nn.Module, rows: int | str, batch: int | str) -> Any:
    inputs = (TensorSpec("table", "float32", (rows, 4)), TensorSpec("ids", "int64", (batch, 3)))
    ranges = {n: (2, 6, 9) for n in ("rows", "b") if n in (rows, batch)}
    exported = trace(model, inputs, (profile(**ranges),))
    return capture(lower(exported, REGISTRY.ops()), inputs)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rows", [6, "rows"])
def test_rows_that_are_read_are_shortened(name: str, rows: int | str) -> None:
    model = CASES[name]
    made = program(model, rows, 2 if rows == 6 else "b")
    assert not any("renorm" in node.op for node in made.graph.nodes)
    table = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) * 2
    written = table.clone()
    want = model(written, IDS)
    assert torch.equal(written[3:5], table[3:5])  # what nobody reads stays
    assert torch.equal(written, table) == (name == "all short enough")
    assert refusals(made.graph) == []
    feeds = {"table": table, "ids": IDS}
    network = convert(made.graph, made.weights, REGISTRY)
    for got in (run(made, feeds), evaluate(network, feeds)):
        torch.testing.assert_close(got["output"], want)
        torch.testing.assert_close(got["table_after"], written)


def test_of_a_table_without_rows_nothing_is_read() -> None:
    inputs = (TensorSpec("table", "float32", (0, 4)), TensorSpec("ids", "int64", (0, 3)))
    exported = trace(Looks(max_norm=1.0), inputs, (profile(),))
    made = capture(lower(exported, REGISTRY.ops()), inputs)
    assert refusals(made.graph) == []
    feeds = {"table": torch.ones(0, 4), "ids": torch.ones(0, 3, dtype=torch.int64)}
    for got in (run(made, feeds), evaluate(convert(made.graph, made.weights, REGISTRY), feeds)):
        assert got["output"].shape == (0, 3, 4)


class Model(nn.Module):
    """Looks rows of a weight up in some way."""

    def __init__(self, look: Callable[[Any, torch.Tensor], torch.Tensor], **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.look = look
        self.bag = nn.EmbeddingBag(6, 4, **options)
        self.embedding = nn.Embedding(6, 4, **{k: v for k, v in options.items() if k != "mode"})
        self.head = nn.Linear(4, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.look(self, ids)


WEIGHTS = {
    "embedding": Model(lambda m, i: m.head(m.embedding(i)), max_norm=1.0),
    "by 1": Model(lambda m, i: m.embedding(i), max_norm=0.5, norm_type=1.0),
    "padding": Model(lambda m, i: m.embedding(i).tanh(), max_norm=0.5, padding_idx=5),
    "bag": Model(lambda m, i: m.head(m.bag(i)), max_norm=1.0),
    "bag of sums": Model(lambda m, i: m.bag(i), max_norm=0.5, mode="sum", norm_type=math.inf),
    "two lookups": Model(lambda m, i: m.embedding(i) + m.embedding(i.flip(0)), max_norm=1.0),
    "both": Model(lambda m, i: m.embedding(i).sum(1) + m.bag(5 - i), max_norm=0.7),
}
STATE = {
    "tied": Model(lambda m, i: m.embedding(i) @ m.embedding.weight.mT, max_norm=1.0),
    "read before": Model(lambda m, i: functional.embedding(i, m.embedding.weight) + m.embedding(i), max_norm=1.0),
    "other rows": Model(lambda m, i: m.embedding(i) + functional.embedding(5 - i, m.embedding.weight), max_norm=1.0),
    "two lengths": Model(lambda m, i: m.embedding(i) + functional.embedding(i, m.embedding.weight, max_norm=0.5),
                         max_norm=1.0),
}  # fmt: skip


def lowered(model: nn.Module) -> Any:
    inputs = (TensorSpec("ids", "int64", ("b", 3)),)
    return capture(lower(trace(model, inputs, (profile(b=(1, 2, 4)),)), REGISTRY.ops()), inputs)


@pytest.mark.parametrize("name", WEIGHTS)
def test_of_a_weight_nothing_is_kept_between_calls(name: str) -> None:
    model = WEIGHTS[name]
    made = lowered(model)
    assert refusals(made.graph) == []
    assert not any("norm" in node.op for node in made.graph.nodes)  # it is a constant
    network = convert(made.graph, made.weights, REGISTRY)
    for ids in (IDS, 5 - IDS[:1], (IDS * 3 + 1) % 6, IDS):
        want = model(ids)  # which writes into its weight
        for got in (run(made, {"ids": ids}), evaluate(network, {"ids": ids})):
            torch.testing.assert_close(got["output"], want)


@pytest.mark.parametrize("name", STATE)
def test_a_table_that_is_read_otherwise_is_state(name: str) -> None:
    with pytest.raises(CaptureRefused) as refused:
        lowered(STATE[name])
    assert refused.value.code == "mutation"
    assert "'embedding.weight'" in refused.value.message
